// SPDX-License-Identifier: MIT OR Apache-2.0

package control

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

// rig is a control room with the rooms that it asks.
type rig struct {
	b     *bustest.Bus
	other *bus.Conn // who answers for the other rooms
	store *sqlite.Store
	log   *eventlog.Log
	watch *bustest.Watch
	room  *Service
	stop  func()

	mu     sync.Mutex
	report services.Report
	agent  func(context.Context) (bus.AgentSummary, error)
}

// made is when the last backup was.
var made = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

// newRig starts it; change may alter the room before.
func newRig(t *testing.T, change func(*rig)) *rig {
	t.Helper()
	r := &rig{b: bustest.New(t), store: roomtest.Store(t, Schema)}
	r.log, r.watch = eventlog.New(r.store), r.b.Watch(t)
	r.report = services.Report{Services: []bus.ServiceStatus{well("agent"), well("control")}, Channels: []bus.Channel{{Name: "gateway", State: bus.Healthy}}}
	r.agent = func(context.Context) (bus.AgentSummary, error) {
		return bus.AgentSummary{Provider: "offline", Model: "echo", Sessions: bus.SessionCounts{Total: 3, Interrupted: 2}, Queues: bus.QueueDepths{Inbox: 4}}, nil
	}
	r.other = r.b.Connect(t, "others")
	err := r.other.Handle(t.Context(),
		bus.AgentStatus.Answer(func(ctx context.Context, _ bus.AgentQuery) (bus.AgentSummary, error) { return r.answer()(ctx) }),
		bus.MemoryRead.Answer(func(context.Context, bus.MemoryQuery) (bus.Memory, error) { return bus.Memory{RSS: 7}, nil }),
		bus.CostGet.Answer(func(context.Context, bus.CostQuery) (bus.CostSummary, error) {
			return bus.CostSummary{Today: 5, Month: 6, DailyLimit: 9}, nil
		}),
		bus.BackupGet.Answer(func(context.Context, bus.BackupQuery) (bus.BackupSummary, error) {
			return bus.BackupSummary{LastSuccess: &bus.BackupRun{Time: made, Bytes: 11, Seconds: 1.5}, LastFailure: &bus.BackupRun{Time: made.Add(-time.Hour)},
				LastVerified: &bus.BackupProof{Time: made}}, nil
		}),
		bus.RecallGet.Answer(func(context.Context, bus.RecallStatusQuery) (bus.RecallStatus, error) {
			return bus.RecallStatus{Kind: bus.RecallBuiltIn, Entries: 12}, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	r.room = New(Deps{Store: r.store, Events: r.log, Report: r.reported, Logger: bustest.Logger(t), Now: time.Now,
		Version: "v1", Node: "here", Started: time.Now().Add(-time.Minute)})
	r.room.every = 10 * time.Millisecond
	if change != nil {
		change(r)
	}
	r.stop = roomtest.Start(t, r.b, r.room)
	return r
}

func well(name string) bus.ServiceStatus {
	return bus.ServiceStatus{Name: name, State: bus.Healthy, Problems: []bus.Problem{}}
}

// reported is the house's picture, with the room's own evidence as the house adds it.
func (r *rig) reported() services.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := services.Report{Services: slices.Clone(r.report.Services), Channels: slices.Clone(r.report.Channels)}
	if p := r.room.problems(); len(p) > 0 {
		own := &rep.Services[len(rep.Services)-1]
		own.State, own.Problems = bus.Degraded, p
	}
	return rep
}

func (r *rig) answer() func(context.Context) (bus.AgentSummary, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.agent
}

func (r *rig) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// fill makes every write fail, or work again, as a full disk does.
func (r *rig) fill(t *testing.T, full bool) {
	t.Helper()
	statement := `DROP TRIGGER full`
	if full {
		statement = `CREATE TRIGGER full BEFORE INSERT ON last_status BEGIN SELECT raise(FAIL, 'no space'); END;
			CREATE TRIGGER full_events BEFORE INSERT ON event BEGIN SELECT raise(FAIL, 'no space'); END`
	} else {
		statement += `; DROP TRIGGER full_events`
	}
	if err := r.store.Write(t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(statement); return err }); err != nil {
		t.Fatal(err)
	}
}

// pulse waits for one that comes after now and is as wanted.
func (r *rig) pulse(t *testing.T, want func(bus.Health) bool) bus.Health {
	t.Helper()
	now := time.Now()
	return bustest.Wait(t, r.watch, bus.Pulse, 1, func(h bus.Health) bool { return h.Time.After(now) && want(h) })
}

func is(state string) func(bus.Health) bool {
	return func(h bus.Health) bool { return h.State == state }
}

func check(h bus.Health, name string) bus.HealthCheck {
	for _, c := range h.Checks {
		if c.Name == name {
			return c
		}
	}
	return bus.HealthCheck{Name: "no " + name}
}

// facts returns the names of the recorded events, without what all share.
func (r *rig) facts(t *testing.T) (names []string) {
	t.Helper()
	rows, err := r.log.After(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		names = append(names, strings.TrimPrefix(row.Subject, bus.Prefix+"evt."))
	}
	return names
}

func (r *rig) wantFacts(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if got = r.facts(t); slices.Equal(got, want) {
			return
		}
		r.pulse(t, func(bus.Health) bool { return true })
	}
	t.Fatalf("facts %v, want %v", got, want)
}

func TestStatus(t *testing.T) {
	r := newRig(t, nil)
	st, err := bus.StatusGet.Ask(t.Context(), r.b.Connect(t, "cli", bus.StatusGet), bus.StatusQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if st.Schema != bus.StatusSchema || st.State != bus.Healthy || st.Version != "v1" || st.Node != "here" || st.PID != os.Getpid() || st.UptimeSeconds < 60 || st.Recall == nil || st.Recall.Entries != 12 {
		t.Errorf("%+v", st)
	}
	if st.Provider != "offline" || st.Model != "echo" || st.Sessions == nil || st.Sessions.Total != 3 || st.Queues == nil || st.Queues.Inbox != 4 {
		t.Errorf("agent: %+v", st)
	}
	if st.Memory == nil || st.Memory.RSS != 7 || st.Cost == nil || st.Cost.Today != 5 || *st.Cost.DailyLimit != 9 || st.Cost.MonthlyLimit != nil {
		t.Errorf("memory %+v, cost %+v", st.Memory, st.Cost)
	}
	if len(st.Services) != 2 || len(st.Channels) != 1 {
		t.Errorf("services %+v, channels %+v", st.Services, st.Channels)
	}
	if b := st.Backup; b.LastSuccess == nil || !b.LastSuccess.Equal(made) || b.LastVerified == nil || b.LastFailure != nil || b.Bytes != 11 || b.Seconds != 1.5 { // what failed before is over
		t.Errorf("backup %+v", b)
	}
}

// The last status is there for whoever asks when no daemon runs.
func TestLastStatus(t *testing.T) {
	empty := roomtest.Store(t, Schema)
	if st, err := LastStatus(t.Context(), empty); st != nil || err != nil {
		t.Errorf("an empty database: %+v, %v", st, err)
	}
	r := newRig(t, nil)
	r.pulse(t, is(bus.Healthy))
	r.stop()
	st, err := LastStatus(t.Context(), r.store)
	if err != nil || st == nil || st.Version != "v1" || st.Memory == nil || time.Since(st.Time) > time.Minute {
		t.Errorf("%+v, %v", st, err)
	}
}

// The start is told once, then nothing while nothing changes, and the stop.
func TestStartAndStopAreFacts(t *testing.T) {
	r := newRig(t, nil)
	h := r.pulse(t, is(bus.Healthy))
	for _, name := range []string{"database", "bus", "agent", "control"} {
		if !check(h, name).OK {
			t.Errorf("check %s: %+v", name, h.Checks)
		}
	}
	for range 3 {
		r.pulse(t, is(bus.Healthy))
	}
	r.stop()
	if got := r.facts(t); !slices.Equal(got, []string{"daemon.started", "daemon.stopping"}) {
		t.Errorf("facts %v", got)
	}
	rows, err := r.log.After(t.Context(), 0, 1)
	if err != nil || !strings.Contains(string(rows[0].Payload), `"interrupted":2`) {
		t.Errorf("%s, %v", rows[0].Payload, err)
	}
}

// A room that does not run makes the daemon degraded; one that runs and sees
// something wrong does not, but the status tells.
func TestRoomDown(t *testing.T) {
	r := newRig(t, nil)
	r.pulse(t, is(bus.Healthy))
	set := func(state, code string, restarts int) {
		r.set(func() {
			s := bus.ServiceStatus{Name: "agent", State: state, Restarts: restarts, Problems: []bus.Problem{}}
			if code != "" {
				s.Problems = []bus.Problem{{Code: code, Title: "it is so"}}
			}
			r.report.Services = []bus.ServiceStatus{s, well("control")}
		})
	}
	set(bus.Degraded, "cold", 0)
	h := r.pulse(t, func(h bus.Health) bool { return check(h, "agent").Detail == "it is so" })
	if h.State != bus.Healthy || !check(h, "agent").OK {
		t.Errorf("%+v", h)
	}
	set(bus.Degraded, "room_restarting", 1)
	if h = r.pulse(t, is(bus.Degraded)); check(h, "agent").OK {
		t.Errorf("%+v", h)
	}
	set(bus.Healthy, "", 1)
	r.pulse(t, is(bus.Healthy))
	r.wantFacts(t, "daemon.started", "room.restarted", "health.changed", "health.changed")
}

// A database that takes no writes is told at once on the pulse and in the
// status, and as one fact each way when it works again.
func TestDatabaseFails(t *testing.T) {
	r := newRig(t, nil)
	r.wantFacts(t, "daemon.started")
	r.fill(t, true)
	h := r.pulse(t, is(bus.Degraded))
	if c := check(h, "database"); c.OK || !strings.Contains(c.Detail, "no space") {
		t.Errorf("%+v", h)
	}
	st, err := bus.StatusGet.Ask(t.Context(), r.b.Connect(t, "cli", bus.StatusGet), bus.StatusQuery{})
	if err != nil || st.State != bus.Degraded || st.Services[1].Problems[0].Code != "database" {
		t.Errorf("%+v, %v", st, err)
	}
	for range 3 {
		r.pulse(t, is(bus.Degraded))
	}
	r.fill(t, false)
	r.pulse(t, is(bus.Healthy))
	r.wantFacts(t, "daemon.started", "health.changed", "health.changed")
	rows, err := r.log.After(t.Context(), 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{`"state":"degraded","from":"healthy","checks":[{"name":"database"`, `"state":"healthy","from":"degraded","checks":[]`} {
		if !strings.Contains(string(rows[i].Payload), want) {
			t.Errorf("fact %d is %s", i, rows[i].Payload)
		}
	}
}

// A closed database is degraded too, for the pulse does not need it.
func TestDatabaseGone(t *testing.T) {
	r := newRig(t, nil)
	r.pulse(t, is(bus.Healthy))
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	if h := r.pulse(t, is(bus.Degraded)); check(h, "database").OK || !check(h, "bus").OK {
		t.Errorf("%+v", h)
	}
}

// A room that hangs does not keep the pulse from coming, nor the others'
// answers from the picture.
func TestRoomHangs(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.agent = func(ctx context.Context) (bus.AgentSummary, error) {
			<-ctx.Done()
			return bus.AgentSummary{}, ctx.Err()
		}
	})
	h := r.pulse(t, is(bus.Degraded))
	if check(h, "bus").OK || !check(h, "database").OK {
		t.Errorf("%+v", h)
	}
	st, err := bus.StatusGet.Ask(t.Context(), r.b.Connect(t, "cli", bus.StatusGet), bus.StatusQuery{})
	if err != nil || st.State != bus.Degraded || st.Sessions != nil || st.Memory == nil || st.Cost == nil {
		t.Errorf("%+v, %v", st, err)
	}
	r.set(func() { r.agent = func(context.Context) (bus.AgentSummary, error) { return bus.AgentSummary{}, nil } })
	r.pulse(t, is(bus.Healthy))
	r.wantFacts(t, "daemon.started", "health.changed", "health.changed")
}

func TestBeatsOnceASecond(t *testing.T) {
	if s := New(Deps{}); s.every != time.Second {
		t.Errorf("every %s", s.every)
	}
}
