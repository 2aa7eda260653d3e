// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/blufio/blufio/bus"
)

// health tells when messages do not get through.
func (s *Service) health() []bus.Problem {
	var out []bus.Problem
	if depth, _, _ := s.queue.counts(); depth >= s.cfg.MaxQueue {
		out = append(out, bus.Problem{Code: "inbox_full", Title: fmt.Sprintf("%d messages wait for an answer; new ones are refused", depth),
			Hint: "they are worked off one by one; agent.max_queue is the bound"})
	}
	if n := s.undelivered(); n >= s.cfg.MaxOutbox {
		out = append(out, bus.Problem{Code: "outbox_full", Title: fmt.Sprintf("%d replies wait to be delivered; new messages are refused", n),
			Hint: "see the channels' errors; agent.max_outbox is the bound"})
	}
	for _, name := range slices.Sorted(maps.Keys(s.breakers)) {
		if p, ok := s.breakers[name].problem(name, s.now().Location()); ok {
			out = append(out, p)
		}
	}
	if p, ok := s.recallProblem(); ok {
		out = append(out, p)
	}
	return out
}

// problem is what is wrong with a provider: it does not answer, or turns us away.
func (b *breaker) problem(name string, zone *time.Location) (bus.Problem, bool) {
	out, denied := b.state()
	p := bus.Problem{Code: "provider_down"}
	var why error
	switch {
	case out.down():
		why = out.why
		p.Title = fmt.Sprintf("%s does not answer since %s: %s", name, out.since.In(zone).Format("2006-01-02 15:04:05 MST"), why)
		p.Hint = "it is tried again by itself; a provider behind it in agent.provider answers meanwhile"
	case denied != nil:
		why = denied
		p.Code, p.Title = "provider_denied", fmt.Sprintf("%s: %s", name, why)
	default:
		return p, false
	}
	var e *bus.Error
	if errors.As(why, &e) && e.Hint != "" {
		p.Hint = e.Hint
	}
	return p, true
}
