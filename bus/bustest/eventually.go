// SPDX-License-Identifier: MIT OR Apache-2.0

package bustest

import (
	"fmt"
	"testing"
	"time"
)

const (
	patience  = 20 * time.Second // a test that passes never uses it up
	lookEvery = 2 * time.Millisecond
)

// Eventually waits until ok is true, and fails the test when it still is not after
// 20 s, with what was waited for and what is seen then:
//
//	bustest.Eventually(t, "the reply is booked", func() bool { return r.rows() == 1 }, func() any { return r.status() })
//
// It is for what another goroutine or process brings about and nothing tells of. Where
// something tells (a channel, a fact on the bus: [Wait]), wait for that.
func Eventually(t testing.TB, what string, ok func() bool, seen ...func() any) {
	t.Helper()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().Before(end) {
			continue
		}
		for _, see := range seen {
			what += fmt.Sprintf("; %+v", see())
		}
		t.Fatalf("still not, after %s: %s", patience, what)
	}
}
