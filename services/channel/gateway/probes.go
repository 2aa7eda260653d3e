// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"

	"github.com/blufio/blufio/services"
)

// Probes are the room's checks. Those of no Service can be listed, not run.
func Probes(s *Service) []services.Probe {
	return []services.Probe{{
		ID: "BLF-GW-002", Title: "The gateway's certificate is good for a while",
		Why:      "clients refuse one that has ended",
		Fix:      "renew it; it is read again by itself",
		Problems: []string{"gateway_down", "tls_unreadable", "tls_expiring"}, // the first is for whoever asks from outside
		Run: func(context.Context) services.Result {
			if s.certs == nil {
				return services.Skip("the gateway speaks no TLS itself")
			}
			for _, p := range s.certs.problems() {
				return services.Warn("%s", p.Title).WithFix("%s", p.Hint)
			}
			return services.OK("it is")
		},
	}}
}
