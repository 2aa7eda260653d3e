// SPDX-License-Identifier: MIT OR Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// mostAtRest is what a daemon may hold in memory while nothing happens, in bytes.
const mostAtRest = 40e6

// TestRest measures what the packaged daemon holds at rest, with all that its unit forbids
// and hides: what make soak starts has no unit. It takes four minutes (make e2e-rest).
func TestRest(t *testing.T) {
	m := boot(t)
	m.step("install", m.install)
	m.step("secret", m.setSecret)
	m.step("start", m.start)
	m.step("idle", func() {
		time.Sleep(time.Minute) // that is what is asked: a minute later
		m.atRest()
	})
	for range 2 {
		m.step("after a burst", func() {
			began, stop := time.Now(), m.load(m.token())
			time.Sleep(30 * time.Second) // as long as a burst of make soak
			accepted := len(stop())
			m.Logf("the daemon holds %.1f MB after %.0f turns a second", m.resident()/1e6, float64(accepted)/time.Since(began).Seconds())
			time.Sleep(time.Minute)
			m.atRest()
		})
	}
}

// atRest holds what the daemon has in memory against what it may.
func (m *machine) atRest() {
	m.Helper()
	rss := m.resident()
	if m.Logf("the daemon holds %.1f MB", rss/1e6); rss > mostAtRest {
		m.Errorf("it may hold %.1f MB", mostAtRest/1e6)
	}
}

// resident is the daemon's resident set, in bytes.
func (m *machine) resident() float64 {
	m.Helper()
	_, text, _ := strings.Cut(m.run("cat", "/proc/"+m.prop("blufio", "MainPID")+"/status"), "VmRSS:")
	var kib float64
	if _, err := fmt.Sscan(text, &kib); err != nil {
		m.Fatal(err)
	}
	return kib * 1024
}
