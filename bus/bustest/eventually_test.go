// SPDX-License-Identifier: MIT OR Apache-2.0

package bustest

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// failing is a test that notes its failure.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestEventually(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after time.Duration
		took  time.Duration
		said  string
	}{
		{"it is so", 0, 0, ""},
		{"it becomes so", 19 * time.Second, 19 * time.Second, ""},
		{"it never does", time.Hour, patience, "still not, after 20s: the door is open; doors 1; keys 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, began, done := &failing{TB: t}, time.Now(), make(chan struct{})
				go func() {
					defer close(done)
					Eventually(f, "the door is open", func() bool { return time.Since(began) >= tc.after },
						func() any { return "doors 1" }, func() any { return "keys 2" })
				}()
				<-done
				if took := time.Since(began); took < tc.took || took > tc.took+2*lookEvery || f.said != tc.said {
					t.Errorf("after %s: %q", took, f.said)
				}
			})
		})
	}
}
