// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// A client that comes back every few seconds is logged once a minute, with how often it
// came; a flood of strangers is bounded.
func TestRefusalsAreLoggedOnceAMinute(t *testing.T) {
	b := &logBridge{}
	at := time.Unix(1_800_000_000, 0)
	var lines []int
	for range 61 { // for five minutes
		if n := b.refusalDue(Denial{Reason: DeniedBadKey, Key: "U1"}, at); n > 0 {
			lines = append(lines, n)
		}
		at = at.Add(5 * time.Second)
	}
	if got := fmt.Sprint(lines); got != "[1 12 12 12 12 12]" {
		t.Errorf("lines tell of %s", got)
	}
	logged := 0
	for i := range 10_000 {
		if b.refusalDue(Denial{Reason: DeniedBadKey, Key: fmt.Sprint(i)}, at) > 0 {
			logged++
		}
		at = at.Add(time.Millisecond)
	}
	if logged > 11 || len(b.quiet) > maxQuiet+1 {
		t.Errorf("%d lines in ten seconds, %d clients are known", logged, len(b.quiet))
	}
}

// A key that is out has its name in what is told of it, and nothing is told that is
// empty; one that gets on is not named by somebody who only claims to have it.
func TestRefusedKeysHaveNames(t *testing.T) {
	var out bytes.Buffer
	s := start(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	k, nc := issue(t, s, bus.RoleObserver, "dash")
	nc.Close()
	if got := s.Who(Denial{Reason: DeniedBadKey, Key: k.Public}); got != k.Public {
		t.Errorf("a bad signature is called %s", got)
	}
	if err := s.RemoveKey(k.Public); err != nil {
		t.Fatal(err)
	}
	d := Denial{Reason: DeniedBadKey, Key: k.Public}
	if got := s.Who(d); got != "dash" {
		t.Errorf("a revoked key is called %s", got)
	}
	s.KeyLeft("Uelder", "elder")
	if got := s.Who(Denial{Reason: DeniedBadKey, Key: "Uelder"}); got != "elder" {
		t.Errorf("one of before is called %s", got)
	}
	text := fmt.Sprint(s.log.told(d, 3)...)
	if !strings.Contains(text, "dash") || strings.Contains(text, "subject") {
		t.Errorf("told %s", text)
	}
	for i := range maxFormer + 10 {
		s.KeyLeft(fmt.Sprintf("U%d", i), "x")
	}
	if n := len(s.ring.outs); n != maxFormer || s.Who(d) != k.Public {
		t.Errorf("%d names are kept", n)
	}
}
