// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"context"
	"errors"
	"fmt"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// Probes are the room's checks. Those of no Service can be listed, not run. None of
// what they find keeps the agent from its work.
func Probes(s *Service) []services.Probe {
	with := func(look func() services.Result) func(context.Context) services.Result {
		return func(context.Context) services.Result {
			if s.d.Server.Leaf() == nil {
				return services.Skip("no hub is configured")
			}
			return look()
		}
	}
	return []services.Probe{{
		ID: "BLF-HUB-001", Title: "The hub is joined",
		Why:      "events wait here meanwhile, and nobody there sees this daemon",
		Fix:      "check bus.leaf.url and whether the hub knows the key in bus.leaf.seed_file",
		Problems: []string{"hub_away"},
		Run:      with(func() services.Result { return s.probeJoined() }),
	}, {
		ID: "BLF-HUB-002", Title: "The hub's stream takes this daemon's events",
		Why:      "what it does not take is lost to the fleet once it is too old here",
		Fix:      "at the hub: " + StreamCommand,
		Problems: []string{"hub_stream"},
		Run:      with(func() services.Result { return s.probeCarried() }),
	}, {
		ID: "BLF-HUB-003", Title: "No other daemon on the hub has this name",
		Why:      "two of one name would be taken for one, so neither sends or answers",
		Fix:      "give one of them another name with daemon.node",
		Problems: []string{"hub_name"},
		Run:      with(func() services.Result { return s.probeName() }),
	}}
}

func (s *Service) probeJoined() services.Result {
	if s.d.Server.HubConnected() {
		return services.OK("as %s", s.name.node)
	}
	for _, p := range s.health() {
		if p.Code == "hub_away" {
			return services.Warn("%s", p.Title).WithFix("%s", p.Hint)
		}
	}
	return services.OK("it is being joined")
}

// probeCarried judges by what came of the events that were sent last.
func (s *Service) probeCarried() services.Result {
	s.mu.Lock()
	trouble := s.trouble
	s.mu.Unlock()
	seen := fmt.Sprintf("%d wait to be sent, %d are on their way", max(0, s.behind()-s.flying.Load()), s.flying.Load())
	switch {
	case s.name.conflict(s.d.Now()):
		return services.Skip("see BLF-HUB-003")
	case !s.d.Server.HubConnected():
		return services.Skip("see BLF-HUB-001")
	}
	for _, p := range s.health() {
		if p.Code != "hub_stream" {
			continue
		}
		if errors.Is(trouble, errNoAck) {
			return services.Warn("%s", p.Title).WithFix("%s", p.Hint)
		}
		return services.Fail("%s", p.Title).WithFix("%s", p.Hint)
	}
	if trouble != nil {
		return services.Info("%s; the last try: %v", seen, trouble)
	}
	return services.OK("%s; it has everything up to position %d", seen, s.cursor.Load())
}

func (s *Service) probeName() services.Result {
	for _, p := range s.health() {
		if p.Code == "hub_name" {
			return services.Fail("%s", p.Title).WithFix("%s", p.Hint)
		}
	}
	if r := s.probeJoined(); r.Level != bus.LevelOK || !s.d.Server.HubConnected() {
		return services.Skip("see BLF-HUB-001")
	}
	return services.OK("%s is this daemon's alone", s.name.node)
}
