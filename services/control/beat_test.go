// SPDX-License-Identifier: MIT OR Apache-2.0

package control

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// That the daemon works is said after a question went over the bus and a write into the
// database, and only then: a watchdog rests on it.
func TestBeatTellsWhatWasTried(t *testing.T) {
	type heard struct {
		st    bus.Status
		works bool
	}
	beats, stopped := make(chan heard, 1), make(chan struct{})
	r := newRig(t, func(r *rig) {
		r.room.d.Beat = func(st bus.Status, works bool) {
			select {
			case beats <- heard{st, works}:
			default: // the test has enough of them
			}
		}
		r.room.d.Stop = func() { close(stopped) }
	})
	await := func(what string, works bool) heard {
		t.Helper()
		for end := time.After(10 * time.Second); ; {
			select {
			case h := <-beats:
				if h.works == works {
					return h
				}
			case <-end:
				t.Fatalf("%s: no beat says that it works: %v", what, works)
			}
		}
	}
	if h := await("at first", true); h.st.Sessions == nil || h.st.Sessions.Total != 3 {
		t.Errorf("%+v", h.st)
	}
	r.fill(t, true)
	await("without the database", false)
	r.fill(t, false)
	await("with the database", true)
	if err := r.other.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	await("without an answer", false)
	select {
	case <-stopped:
		t.Error("it is said to stop, and does not")
	default:
	}
	r.stop()
	select {
	case <-stopped:
	default:
		t.Error("it has stopped without a word")
	}
}

// A restart does not empty a disk.
func TestAFullDiskIsNoReasonToRestart(t *testing.T) {
	for _, c := range []struct {
		answered bool
		stored   error
		want     bool
	}{
		{true, nil, true}, {true, fmt.Errorf("commit: %w", sqlite.ErrFull), true},
		{true, sqlite.ErrBusy, false}, {true, context.DeadlineExceeded, false}, {true, sqlite.ErrCorrupt, false},
		{false, nil, false}, {false, sqlite.ErrFull, false},
	} {
		if got := works(c.answered, c.stored); got != c.want {
			t.Errorf("answered %v, stored %v: works %v, want %v", c.answered, c.stored, got, c.want)
		}
	}
}
