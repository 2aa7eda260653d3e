// SPDX-License-Identifier: MIT OR Apache-2.0

package keys

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services"
)

// endsSoon is how long before its end a key is worth a word.
const endsSoon = 14 * 24 * time.Hour

// Probes are the room's checks. Those of no Service can be listed, not run.
func Probes(s *Service) []services.Probe {
	return []services.Probe{{
		ID: "BLF-KEY-001", Title: "The bus lets in the keys that it should",
		Why:      "a key that was revoked must stay out, and one that was issued must work",
		Fix:      "restart the daemon: it reads all keys anew",
		Problems: []string{"keys_not_in_force"},
		Run:      func(context.Context) services.Result { return s.probeForce() },
	}, {
		ID: "BLF-KEY-002", Title: "No key of the bus ends soon",
		Why: "whoever uses it is cut off then",
		Fix: "issue a new one with `blufio keys issue` and give it to whoever uses the old one",
		Run: func(context.Context) services.Result { return s.probeEnds() },
	}}
}

// probeForce compares what is kept with what the bus lets in, and the device key with
// its file.
func (s *Service) probeForce() services.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	if trouble := s.trouble.Load(); trouble != nil {
		return services.Fail("they are not: %v", *trouble).WithFix("%s", hintFor(*trouble))
	}
	var out []string
	for _, r := range s.living {
		if !r.over(s.d.Now()) && r.ending.IsZero() && s.d.Bus.NameOf(r.Public) != r.Name {
			out = append(out, r.Name)
		}
	}
	if len(out) > 0 {
		slices.Sort(out)
		return services.Fail("kept as living, and not let in: %s", strings.Join(out, ", "))
	}
	device, err := embedded.LoadDevice(s.d.DataDir)
	if err == nil && device.PublicKey() != s.d.Bus.Device().PublicKey() {
		return services.Fail("device.nk holds another device key than the one that the daemon uses").
			WithFix("put the right one back, or restart the daemon with the new one: issued tokens end then")
	}
	return services.OK("the device key, and %d of at most %d others", len(s.living), maxLiving)
}

func (s *Service) probeEnds() services.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	var soon []string
	for _, r := range s.living {
		if left := r.Expires.Sub(s.d.Now()); !r.Expires.IsZero() && left < endsSoon {
			soon = append(soon, fmt.Sprintf("%s at %s", r.Name, r.Expires.Format(time.DateTime)))
		}
	}
	switch {
	case len(soon) > 0:
		slices.Sort(soon)
		return services.Info("these end: %s", strings.Join(soon, ", "))
	case len(s.living) == 0:
		return services.OK("there is none beside the device key")
	}
	return services.OK("none within %d days", int(endsSoon.Hours()/24))
}
