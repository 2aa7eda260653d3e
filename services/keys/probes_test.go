// SPDX-License-Identifier: MIT OR Apache-2.0

package keys

import (
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

func (r *rig) probe(id string) services.Result {
	r.t.Helper()
	for _, p := range Probes(r.room) {
		if p.ID == id {
			return p.Run(r.t.Context())
		}
	}
	r.t.Fatalf("there is no check %s", id)
	return services.Result{}
}

// What the bus lets in is compared with what is kept, and ends are foreseen.
func TestProbes(t *testing.T) {
	r := newRig(t)
	want := func(id, level, seen string) {
		t.Helper()
		if got := r.probe(id); got.Level != level || !strings.Contains(got.Seen, seen) {
			t.Errorf("%s: %+v, want %s, %q", id, got, level, seen)
		}
	}
	want("BLF-KEY-001", bus.LevelOK, "and 0 of at most 64 others")
	want("BLF-KEY-002", bus.LevelOK, "there is none")
	public := newSeed(t).public(t)
	if _, err := bus.KeyIssue.Ask(t.Context(), r.op, bus.KeyRequest{Name: "dash", Role: bus.RoleObserver, PublicKey: public, Seconds: 30 * 24 * 3600}); err != nil {
		t.Fatal(err)
	}
	want("BLF-KEY-001", bus.LevelOK, "and 1 of")
	want("BLF-KEY-002", bus.LevelOK, "none within 14 days")
	r.advance(17 * 24 * time.Hour)
	want("BLF-KEY-002", bus.LevelInfo, "dash at ")
	if err := r.bus.Server().RemoveKey(public); err != nil {
		t.Fatal(err)
	}
	want("BLF-KEY-001", bus.LevelFail, "not let in: dash")
}
