// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build failpoint

package failpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Variable names the failpoint.
const Variable = "BLUFIO_FAILPOINT"

// haste in the environment makes what would wait for minutes wait for seconds.
const haste = "BLUFIO_HASTE"

// Brisk is d, or a hundredth of it in a process that is in haste.
func Brisk(d time.Duration) time.Duration {
	if os.Getenv(haste) == "" {
		return d
	}
	return d / 100
}

// armed is read once; the process has no other state of this package.
var armed = sync.OnceValue(func() *trap {
	t, err := parse(os.Getenv(Variable))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(64)
	}
	return t
})

// trap is what the environment says. The zero trap never fires.
type trap struct {
	name string
	text string       // "": whatever it is about
	left atomic.Int64 // times until it fires
}

func parse(s string) (*trap, error) {
	t := &trap{}
	t.left.Store(1)
	if s == "" {
		return t, nil
	}
	var count string
	if i := strings.IndexAny(s, ":="); i < 0 {
		t.name = s
	} else if t.name = s[:i]; s[i] == '=' {
		t.text = s[i+1:]
	} else {
		count = s[i+1:]
	}
	n, err := strconv.ParseInt(count, 10, 64)
	if count != "" {
		t.left.Store(n)
	}
	if !slices.Contains(All(), t.name) || count != "" && (err != nil || n < 1) {
		return nil, fmt.Errorf("%s=%q names no failpoint", Variable, s)
	}
	return t, nil
}

// Hit is the failpoint of that name.
func Hit(name string) { HitOn(name, "") }

// HitOn is one that is about a text.
func HitOn(name, text string) {
	if armed().fires(name, text) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // what comes after it does not happen any more
	}
}

func (t *trap) fires(name, text string) bool {
	return t.name == name && strings.Contains(text, t.text) && t.left.Add(-1) <= 0
}
