// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// Probes are the room's checks. Those of no Service can be listed, not run. That
// somebody tries a token which has ended is none of them: it is refused, and told as
// evt.security.denied.
func Probes(s *Service) []services.Probe {
	return []services.Probe{{
		ID: "BLF-GW-002", Title: "The gateway's certificate is good for a while",
		Why:      "clients refuse one that has ended",
		Fix:      "renew it; it is read again by itself",
		Problems: []string{"gateway_down", "tls_unreadable", "tls_expiring", "tls_key_open"}, // the first is for whoever asks from outside
		Run:      func(context.Context) services.Result { return s.certs.probe() },
	}, {
		ID: "BLF-GW-003", Title: "No token in use ends soon",
		Why: "whoever uses it is refused then",
		Fix: "issue a new one with `blufio token issue` and give it to whoever uses the old one",
		Run: func(context.Context) services.Result { return s.passes.probe() },
	}}
}

// probe tells a certificate that clients refuse from one that they will refuse.
func (c *certificates) probe() services.Result {
	if c == nil {
		return services.Skip("the gateway speaks no TLS itself")
	}
	c.look() // for whoever asks has just changed something, perhaps
	cert, _ := c.current()
	var seen, fix []string
	for _, p := range c.problems() {
		seen, fix = append(seen, p.Title), append(fix, p.Hint)
	}
	if len(seen) == 0 {
		return services.OK("it ends on %s", cert.Leaf.NotAfter.Format(time.DateOnly))
	}
	r := services.Warn("%s", strings.Join(seen, "; ")).WithFix("%s", strings.Join(fix, "; "))
	if !c.now().Before(cert.Leaf.NotAfter) {
		r.Level = bus.LevelFail
	}
	return r
}

// A token is in use that was used so lately, and ends soon when the last tenth of its
// time has begun, at most so much of it.
const (
	inUse    = 7 * 24 * time.Hour
	endsSoon = 14 * 24 * time.Hour
)

func (ps *passes) probe() services.Result {
	all := ps.list(false)
	now := ps.now()
	var soon []string
	for _, t := range all {
		left := t.Expires.Sub(now)
		if t.LastUsed != nil && now.Sub(*t.LastUsed) < inUse && left < min(endsSoon, t.Expires.Sub(t.Issued)/10) {
			soon = append(soon, fmt.Sprintf("%s at %s", called(t), t.Expires.Local().Format(time.DateTime)))
		}
	}
	switch {
	case len(soon) > 0:
		return services.Info("these end: %s", strings.Join(soon, ", "))
	case len(all) == 0:
		return services.OK("none is valid")
	}
	return services.OK("%d of at most %d are valid, and none that is in use ends soon", len(all), ps.limit)
}

// called is what a token is known by.
func called(t bus.TokenRecord) string {
	if t.Name != "" {
		return t.Name
	}
	return t.ID
}
