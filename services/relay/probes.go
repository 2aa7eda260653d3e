// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"context"
	"errors"
	"strconv"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// Probes are the room's checks. Those of no Service can be listed, not run.
func Probes(s *Service) []services.Probe {
	return []services.Probe{{
		ID: "BLF-BUS-003", Title: "Events are kept for replay",
		Why:      "who listens later finds no gap; messages are not affected",
		Fix:      "free disk space if it is full; blufio tries again by itself",
		Problems: []string{"event_stream"},
		Run:      s.probeStoring,
	}, {
		ID: "BLF-BUS-004", Title: "The event stream holds what the database says", Deep: true,
		Why: "after damage the stream begins silently with events gone",
		Fix: "restart the daemon: it looks what the stream lacks and stores it again",
		Run: s.probeStream,
	}}
}

func (s *Service) probeStoring(context.Context) services.Result {
	err := s.progress.trouble()
	switch {
	case errors.Is(err, errNotOpen):
		return services.OK("the stream is about to open")
	case err != nil:
		return services.Fail("%v", err)
	}
	return services.OK("%d wait to be stored", s.progress.behind())
}

// probeStream compares the newest event in the stream with what was said to be stored.
func (s *Service) probeStream(ctx context.Context) services.Result {
	events := s.reading.Load()
	if s.progress.trouble() != nil || events == nil {
		return services.Skip("see BLF-BUS-003")
	}
	stored := s.progress.stored() // first, for more may come meanwhile
	state, err := events.State(ctx)
	if err != nil {
		return services.Fail("it does not say what it holds: %v", err)
	}
	last, err := events.Last(ctx, bus.HeaderSeq)
	if err != nil {
		return services.Fail("it cannot be read: %v", err)
	}
	if last == nil {
		if state.Msgs == 0 && stored > 0 && state.Last == 0 {
			return services.Fail("it is empty, and %d events were stored in it", stored)
		}
		return services.OK("it holds no event any more")
	}
	seq, err := strconv.ParseInt(last.Header.Get(bus.HeaderSeq), 10, 64)
	switch {
	case err != nil:
		return services.Fail("its newest event has no position")
	case seq < stored:
		return services.Fail("its newest event is %d, and %d was stored", seq, stored)
	}
	return services.OK("%d events, %d KiB, up to position %d", state.Msgs, state.Bytes>>10, seq)
}
