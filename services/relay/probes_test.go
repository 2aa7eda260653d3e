// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"context"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services"
)

func wants(t *testing.T, r services.Result, level, seen string) {
	t.Helper()
	if r.Level != level || !strings.Contains(r.Seen, seen) {
		t.Errorf("%s: %q, want %s: %q", r.Level, r.Seen, level, seen)
	}
}

// What the stream lost behind the relay's back is found by comparing, and by nothing else.
func TestStreamProbe(t *testing.T) {
	r := newRig(t)
	s, _ := r.start(t, nil)
	r.record(t, 5)
	r.holds(t, to(5)...)
	bustest.Eventually(t, "all are known to be stored", func() bool { return s.progress.stored() == 5 })
	wants(t, s.probeStoring(t.Context()), bus.LevelOK, "0 wait")
	wants(t, s.probeStream(t.Context()), bus.LevelOK, "5 events")

	stream, err := r.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(4); seq <= 5; seq++ {
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	wants(t, s.probeStoring(t.Context()), bus.LevelOK, "0 wait")
	wants(t, s.probeStream(t.Context()), bus.LevelFail, "its newest event is 3, and 5 was stored")
}

func TestStreamProbeOfANewStream(t *testing.T) {
	r := newRig(t)
	s, _ := r.start(t, nil)
	r.record(t, 2)
	bustest.Eventually(t, "all are known to be stored", func() bool { return s.progress.stored() == 2 })
	if err := s.reading.Load().Recreate(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants(t, s.probeStream(t.Context()), bus.LevelFail, "it is empty, and 2 events were stored")
}

// A stream that is away is one finding.
func TestStoringProbe(t *testing.T) {
	r := newRig(t)
	away := &stream{Stream: r.b.Server(), open: func(context.Context) error { return errAway }}
	s, _ := r.start(t, func(s *Service) { s.stream = away })
	bustest.Eventually(t, "the stream is away", func() bool { return s.probeStoring(t.Context()).Level == bus.LevelFail })
	wants(t, s.probeStoring(t.Context()), bus.LevelFail, "away")
	wants(t, s.probeStream(t.Context()), bus.LevelSkip, "BLF-BUS-003")
}
