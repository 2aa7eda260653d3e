// SPDX-License-Identifier: MIT OR Apache-2.0

package control

import (
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// A health that changes to and fro while the database takes no writes is kept for so
// many changes only; the last one that is told is where the next begins.
func TestUntoldChangesAreBounded(t *testing.T) {
	r := newRig(t, nil)
	r.stop() // only the room's own goroutine would use what follows
	r.fill(t, true)
	s := New(r.room.d)
	var at time.Time
	tell := func(state string) error {
		at = at.Add(time.Second)
		return s.tellChanges(t.Context(), bus.Status{}, bus.Health{Time: at, State: state})
	}
	for range 3 * mostUntold {
		for _, state := range []string{bus.Degraded, bus.Healthy} {
			if tell(state) == nil {
				t.Fatal("it was recorded")
			}
		}
	}
	if len(s.untold) != mostUntold || s.untold[0].From != bus.Healthy {
		t.Errorf("%d changes are kept", len(s.untold))
	}
	r.fill(t, false)
	if err := tell(bus.Degraded); err != nil || len(s.untold) != 0 {
		t.Errorf("afterwards %d are kept, %v", len(s.untold), err)
	}
	if err := tell(bus.Degraded); err != nil || s.state != bus.Degraded {
		t.Errorf("the health that is told last is %s, %v", s.state, err)
	}
}
