// SPDX-License-Identifier: MIT OR Apache-2.0

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

// rig is a doctor's room and somebody who asks it.
type rig struct {
	room   *Service
	cli    *bus.Conn
	report services.Report
	others []services.Probe
	answer func(bus.Message) []bus.Reply // to a message, by the agent's stand-in
	stop   func()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	b := bustest.New(t)
	r := &rig{}
	r.room = New(Deps{Store: roomtest.Store(t, Schema), Server: b.Server(), MaxConns: 64, DataDir: t.TempDir(), Logger: bustest.Logger(t), Now: time.Now,
		Report: func() services.Report { return r.report }, Probes: func() []services.Probe { return append(Probes(r.room), r.others...) }})
	r.stop = roomtest.Start(t, b, r.room)
	r.cli = b.Connect(t, "cli", bus.DoctorRun, bus.JobGet)
	r.answer = func(m bus.Message) []bus.Reply {
		return []bus.Reply{{MessageID: "m1", Session: m.Session, State: bus.StateAnswered}}
	}
	agent := b.Connect(t, "agent", bus.MessageSend)
	err := agent.Handle(t.Context(), bus.MessageReceive.Answer(func(ctx context.Context, m bus.Message) (bus.Accepted, error) {
		for _, reply := range r.answer(m) {
			if _, err := bus.MessageSend.To(m.Channel).Ask(ctx, agent, reply); err != nil {
				t.Error(err)
			}
		}
		return bus.Accepted{ID: "m1", Session: m.Session}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// examine asks as the command line does.
func (r *rig) examine(t *testing.T, q bus.DoctorRequest) map[string]bus.Finding {
	t.Helper()
	job, err := bus.DoctorRun.Ask(t.Context(), r.cli, q)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bus.Finding{}
	for heard := 0; ; {
		s, err := bus.JobGet.Ask(t.Context(), r.cli, bus.JobQuery{ID: job.ID, After: heard})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range s.News {
			var f bus.Finding
			if err := json.Unmarshal(n, &f); err != nil {
				t.Fatal(err)
			}
			found[f.ID] = f
		}
		heard += len(s.News)
		if s.Done {
			if s.Error != nil {
				t.Errorf("%+v", s.Error)
			}
			return found
		}
	}
}

func TestExamination(t *testing.T) {
	r := newRig(t)
	quick, deep := r.examine(t, bus.DoctorRequest{}), r.examine(t, bus.DoctorRequest{Deep: true})
	if len(quick) == 0 || len(deep) != len(Probes(r.room)) || len(quick) >= len(deep) {
		t.Errorf("%d quick, %d deep, %d in all", len(quick), len(deep), len(Probes(r.room)))
	}
	for id, f := range deep {
		if f.Level == bus.LevelWarn || f.Level == bus.LevelFail || f.Seen == "" {
			t.Errorf("%s: %+v", id, f)
		}
	}
	if only := r.examine(t, bus.DoctorRequest{Only: []string{"BLF-BUS-001"}}); len(only) != 1 {
		t.Errorf("%+v", only)
	}
	if _, err := bus.DoctorRun.Ask(t.Context(), r.cli, bus.DoctorRequest{TimeoutMS: 61_000}); bus.CodeOf(err) != bus.CodeInvalid {
		t.Errorf("%v", err)
	}
}

func TestRooms(t *testing.T) {
	r := newRig(t)
	well := bus.ServiceStatus{Name: "cost", State: bus.Healthy}
	r.others = []services.Probe{{ID: "BLF-COST-001", Problems: []string{"budget_exhausted"}, Run: func(context.Context) services.Result { return services.OK("ok") }}}
	for _, c := range []struct {
		name       string
		rooms      []bus.ServiceStatus
		runs, sees string // levels of the two findings
		seen       string
	}{
		{"well", []bus.ServiceStatus{well}, bus.LevelOK, bus.LevelOK, "all 1 do"},
		{"dead", []bus.ServiceStatus{well, {Name: "agent", State: bus.Degraded, Problems: []bus.Problem{{Code: "room_restarting", Title: "the room is restarting: oh"}}}},
			bus.LevelFail, bus.LevelOK, "agent: the room is restarting: oh"},
		{"came back", []bus.ServiceStatus{{Name: "relay", State: bus.Healthy, Restarts: 2}}, bus.LevelWarn, bus.LevelOK, "relay (2 times)"},
		{"sees something", []bus.ServiceStatus{well, {Name: "agent", Problems: []bus.Problem{{Code: "odd", Title: "it is odd", Hint: "do so"}}}},
			bus.LevelOK, bus.LevelFail, "agent: it is odd"},
		{"another check speaks of it", []bus.ServiceStatus{{Name: "cost", Problems: []bus.Problem{{Code: "budget_exhausted", Title: "spent"}}}},
			bus.LevelOK, bus.LevelOK, "none does"},
	} {
		r.report.Services = c.rooms
		found := r.examine(t, bus.DoctorRequest{Only: []string{"BLF-ROOM-001", "BLF-ROOM-002"}})
		runs, sees := found["BLF-ROOM-001"], found["BLF-ROOM-002"]
		if runs.Level != c.runs || sees.Level != c.sees || !strings.Contains(runs.Seen+sees.Seen, c.seen) {
			t.Errorf("%s: %+v, %+v", c.name, runs, sees)
		}
		if c.name == "sees something" && sees.Fix != "do so" {
			t.Errorf("fix %q", sees.Fix)
		}
	}
}

// The probe leaves no row behind, also not those of a check that was cut off.
func TestProbeRowIsDeleted(t *testing.T) {
	r := newRig(t)
	write := func(statement string) error {
		return r.room.d.Store.Write(t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(statement); return err })
	}
	if err := write(`INSERT INTO doctor_probe (at) VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	if f := r.examine(t, bus.DoctorRequest{Only: []string{"BLF-DB-002"}})["BLF-DB-002"]; f.Level != bus.LevelOK {
		t.Errorf("%+v", f)
	}
	var left int
	if err := r.room.d.Store.QueryRow(t.Context(), `SELECT count(*) FROM doctor_probe`).Scan(&left); err != nil || left > 0 {
		t.Errorf("%d rows are left, %v", left, err)
	}
	if err := errors.Join(write(`CREATE TRIGGER no BEFORE DELETE ON doctor_probe BEGIN SELECT raise(FAIL, 'not so'); END`)); err != nil {
		t.Fatal(err)
	}
	if f := r.examine(t, bus.DoctorRequest{Only: []string{"BLF-DB-002"}})["BLF-DB-002"]; f.Level != bus.LevelFail || !strings.Contains(f.Seen, "not so") {
		t.Errorf("%+v", f)
	}
}

// Two who look at the same moment do not take each other's row away.
func TestProbeLeavesRowOfAnother(t *testing.T) {
	r := newRig(t)
	var other, read int64
	if err := r.room.d.Store.Write(t.Context(), func(tx *sqlite.Tx) error {
		return tx.QueryRow(`INSERT INTO doctor_probe (at) VALUES (?) RETURNING id`, time.Now()).Scan(&other)
	}); err != nil {
		t.Fatal(err)
	}
	if f := r.examine(t, bus.DoctorRequest{Only: []string{"BLF-DB-002"}})["BLF-DB-002"]; f.Level != bus.LevelOK {
		t.Errorf("%+v", f)
	}
	if err := r.room.d.Store.QueryRow(t.Context(), `SELECT id FROM doctor_probe`).Scan(&read); err != nil || read != other {
		t.Errorf("row %d is there, %v; want the other's, %d, alone", read, err, other)
	}
}

func TestWholeTurn(t *testing.T) {
	r := newRig(t)
	look := func(timeout int64) bus.Finding {
		return r.examine(t, bus.DoctorRequest{Only: []string{"BLF-ROOM-003"}, TimeoutMS: timeout})["BLF-ROOM-003"]
	}
	if f := look(20_000); f.Level != bus.LevelOK {
		t.Errorf("%+v", f)
	}
	r.answer = func(m bus.Message) []bus.Reply {
		return []bus.Reply{{MessageID: "m0", Session: m.Session, State: bus.StateAnswered}, // of one that had given up
			{MessageID: "m1", Session: m.Session, State: bus.StateFailed, Text: "it did not work"}}
	}
	if f := look(20_000); f.Level != bus.LevelFail || !strings.Contains(f.Seen, "it did not work") {
		t.Errorf("%+v", f)
	}
	r.answer = func(bus.Message) []bus.Reply { return nil }
	if f := look(50); f.Level != bus.LevelFail || !strings.Contains(f.Seen, "was not delivered") {
		t.Errorf("%+v", f)
	}
	for range mostTurns {
		if session, _ := r.room.turns.take(); session == "" {
			t.Error("a session was not given back")
		}
	}
	if f := look(50); f.Level != bus.LevelSkip {
		t.Errorf("%+v", f)
	}
}

func TestListedWithoutARoom(t *testing.T) {
	for _, p := range Probes(nil) {
		if p.ID == "" || p.Title == "" || p.Why == "" || p.Fix == "" || p.Run == nil {
			t.Errorf("%+v", p)
		}
	}
}
