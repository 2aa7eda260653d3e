// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

// clock is a clock that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

func (c *clock) Add(d time.Duration) { c.Set(c.Now().Add(d)) }

// noon is a day in the middle of everything.
var noon = time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)

// desk is an opened ledger without a bus around it.
type desk struct {
	*Service
	t      *testing.T
	clock  *clock
	store  *sqlite.Store
	events *eventlog.Log
	path   string
	cfg    Config
}

// newDesk opens a ledger whose model "m" costs 1 $ in and 10 $ out per million:
// a micro-dollar an input token.
func newDesk(t *testing.T, change func(*Config, *Deps)) *desk {
	t.Helper()
	d := &desk{t: t, clock: &clock{t: noon}, path: filepath.Join(t.TempDir(), "blufio.db"), cfg: Defaults()}
	d.cfg.Prices = map[string]Price{
		"m":    {Input: 1, Output: 10},
		"home": {Free: true},
	}
	d.open(change)
	return d
}

func (d *desk) open(change func(*Config, *Deps)) {
	d.t.Helper()
	d.store = roomtest.OpenStore(d.t, d.path, Schema)
	d.events = eventlog.New(d.store)
	deps := Deps{Store: d.store, Events: d.events, Logger: bustest.Logger(d.t), Now: d.clock.Now, Location: time.UTC}
	if change != nil {
		change(&d.cfg, &deps)
	}
	s, err := New(d.cfg, deps)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := s.open(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	d.Service = s
}

// restart closes the database and opens it as the next boot.
func (d *desk) restart(change func(*Config, *Deps)) {
	d.t.Helper()
	if err := d.store.Close(); err != nil {
		d.t.Fatal(err)
	}
	d.open(change)
}

func (d *desk) wantReserve(id, model string, in, out int64, code bus.Code) bus.Reserved {
	d.t.Helper()
	r, err := d.reserve(d.t.Context(), bus.Reserve{
		ModelCall: bus.ModelCall{ID: id, Model: model, Provider: "p", Purpose: "turn"}, InputTokens: in, OutputTokens: out})
	if bus.CodeOf(err) != code {
		d.t.Fatalf("reserve %s: code %q (%v), want %q", id, bus.CodeOf(err), err, code)
	}
	return r
}

func (d *desk) wantSettle(id, model string, u bus.Usage, at time.Time, code bus.Code) bus.Settled {
	d.t.Helper()
	r, err := d.settle(d.t.Context(), bus.Settle{
		ModelCall: bus.ModelCall{ID: id, Model: model, Provider: "p", Purpose: "tool:weather", Session: "s", MessageID: "msg"}, Usage: u, Time: at})
	if bus.CodeOf(err) != code {
		d.t.Fatalf("settle %s: code %q (%v), want %q", id, bus.CodeOf(err), err, code)
	}
	return r
}

// spend books micro-dollars now.
func (d *desk) spend(id string, amount int64) {
	d.t.Helper()
	d.wantSettle(id, "m", bus.Usage{Input: amount}, d.clock.Now(), "")
}

func (d *desk) summary() bus.CostSummary {
	d.t.Helper()
	sum, err := d.get(d.t.Context(), bus.CostQuery{})
	if err != nil {
		d.t.Fatal(err)
	}
	return sum
}

// said are the last words of the subjects of all durable events so far.
func (d *desk) said(lane bus.Lane) []string {
	d.t.Helper()
	var out []string
	for _, r := range roomtest.Events(d.t, d.events) {
		if r.Subject == lane.Spec().Subject() {
			out = append(out, string(r.Payload))
		}
	}
	return out
}

// audit holds every total against the rows it is made of.
func (d *desk) audit() {
	d.t.Helper()
	var ledger, days, byDays, byMonths, reserved, open int64
	err := d.store.QueryRow(d.t.Context(), `SELECT
		(SELECT coalesce(sum(amount), 0) FROM cost_ledger),
		(SELECT coalesce(sum(amount), 0) FROM cost_day),
		(SELECT coalesce(sum(spent), 0) FROM cost_period WHERE period = 'day'),
		(SELECT coalesce(sum(spent), 0) FROM cost_period WHERE period = 'month'),
		(SELECT coalesce(sum(amount), 0) FROM cost_reservation), (SELECT count(*) FROM cost_reservation)`).
		Scan(&ledger, &days, &byDays, &byMonths, &reserved, &open)
	if err != nil {
		d.t.Fatal(err)
	}
	if ledger != days || ledger != byDays || ledger != byMonths {
		d.t.Fatalf("totals disagree: ledger %d, days %d, day accounts %d, month accounts %d", ledger, days, byDays, byMonths)
	}
	b, ok := d.current()
	if !ok || int64(b.reserved) != reserved || b.open != open {
		d.t.Fatalf("health knows %v in %d reservations, the table %d in %d", b.reserved, b.open, reserved, open)
	}
	sum := d.summary()
	if b.day.spent != sum.Today || b.month.spent != sum.Month || b.reserved != sum.Reserved || b.stopped != sum.Stopped {
		d.t.Fatalf("health and gauges know %+v, the tables %+v", b, sum)
	}
}

func problemCodes(problems []bus.Problem) []string {
	codes := []string{}
	for _, p := range problems {
		codes = append(codes, p.Code)
	}
	return codes
}

// On the bus, as the agent and the command line use it.
func TestOnTheBus(t *testing.T) {
	store := roomtest.Store(t, Schema)
	b := bustest.New(t)
	cfg := Defaults()
	cfg.Prices = map[string]Price{"m": {Input: 1, Output: 10}}
	s, err := New(cfg, Deps{Store: store, Events: eventlog.New(store), Logger: bustest.Logger(t), Location: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	roomtest.Start(t, b, s)
	agent := b.Connect(t, "agent", bus.CostReserve, bus.CostSettle, bus.CostGet)
	cli := b.Operator(t, bus.SpendingSet)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	call := bus.ModelCall{ID: "call-1", Model: "m", Provider: "p", Purpose: "turn"}
	reserved, err := bus.CostReserve.Ask(ctx, agent, bus.Reserve{ModelCall: call, InputTokens: 500, OutputTokens: 100})
	if err != nil || reserved.Amount != 1500 {
		t.Fatalf("reserve: %+v, %v", reserved, err)
	}
	settled, err := bus.CostSettle.Ask(ctx, agent, bus.Settle{ModelCall: call, Usage: bus.Usage{Input: 400, Output: 10}, Time: time.Now()})
	if err != nil || settled != (bus.Settled{Amount: 500}) {
		t.Fatalf("settle: %+v, %v", settled, err)
	}
	sum, err := bus.SpendingSet.Ask(ctx, cli, bus.SpendingSwitch{Stopped: true, Reason: "holiday"})
	if err != nil || !sum.Stopped || sum.StoppedReason != "holiday" || sum.Today != 500 {
		t.Fatalf("stop spending: %+v, %v", sum, err)
	}
	call.ID = "call-2"
	_, err = bus.CostReserve.Ask(ctx, agent, bus.Reserve{ModelCall: call})
	if bus.CodeOf(err) != bus.CodeStopped || err.Error() != "spending is stopped: holiday" {
		t.Fatalf("reserve with spending stopped: %v", err)
	}
	if sum, err = bus.CostGet.Ask(ctx, agent, bus.CostQuery{}); err != nil || len(sum.Models) != 1 || sum.Models[0].Model != "m" {
		t.Fatalf("get: %+v, %v", sum, err)
	}
}

func TestConcurrentReservesKeepTheLimit(t *testing.T) {
	d := newDesk(t, func(c *Config, _ *Deps) { c.DailyUSD = 0.01 }) // 10 000 µ$: ten calls of 1 000
	var wg sync.WaitGroup
	codes := make(chan bus.Code, 50)
	for i := range 50 {
		wg.Go(func() {
			_, err := d.reserve(t.Context(), bus.Reserve{ModelCall: bus.ModelCall{ID: fmt.Sprint("call-", i), Model: "m"}, InputTokens: 1000})
			codes <- bus.CodeOf(err)
		})
	}
	wg.Wait()
	close(codes)
	granted := 0
	for code := range codes {
		switch code {
		case "":
			granted++
		case bus.CodeBudget:
		default:
			t.Errorf("unexpected code %q", code)
		}
	}
	if granted != 10 || d.summary().Reserved != 10_000 {
		t.Fatalf("%d calls granted, %v set aside; want 10 and $0.01", granted, d.summary().Reserved)
	}
	d.audit()
}
