// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"strings"
	"sync"
	"time"
)

// HubTrouble is why the hub was last not reached, "" when that is not known.
func (s *Server) HubTrouble() string { return s.log.leaf.last() }

// leafTrouble remembers why the hub is not reached. The server tries every second,
// and says so in its log every time.
type leafTrouble struct {
	mu     sync.Mutex
	reason string
	logged time.Time
}

const leafLogEvery = time.Hour // for the same reason

// note reports whether the reason is to be logged.
func (l *leafTrouble) note(reason string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if reason == l.reason && now.Sub(l.logged) < leafLogEvery {
		return false
	}
	l.reason, l.logged = reason, now
	return true
}

func (l *leafTrouble) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// leafReason finds, in a line of the server's log, why a hub was not reached.
func leafReason(text string) (reason string, ok bool) {
	if !strings.Contains(text, "eafnode") {
		return "", false
	}
	if _, quoted, found := strings.Cut(text, "Leafnode Error '"); found {
		reason = strings.TrimSuffix(quoted, "'")
		if strings.Contains(reason, "Authorization Violation") {
			reason = "it does not know the key of this daemon"
		}
		return reason, true
	}
	if _, handshake, found := strings.Cut(text, "TLS leafnode handshake error: "); found {
		handshake, _, _ = strings.Cut(handshake, " (")
		return handshake, true
	}
	if _, dial, found := strings.Cut(text, "): "); found {
		return dial, true
	}
	return text, true
}
