// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestSettleTwice(t *testing.T) {
	d := newDesk(t, nil)
	d.wantReserve("a", "m", 1000, 100, "")
	u := bus.Usage{Input: 10, Output: 2, CacheRead: 3, CacheWrite: 4}
	if got := d.wantSettle("a", "m", u, noon, ""); got != (bus.Settled{Amount: 37}) {
		t.Errorf("%+v", got)
	}
	first := d.summary()
	if first.Reserved != 0 || first.Today != 37 || len(first.Models) != 1 || first.Models[0] != (bus.ModelCost{Model: "m", Calls: 1, Usage: u, Amount: 37}) {
		t.Errorf("%+v", first)
	}
	for _, u := range []bus.Usage{u, {Input: 1e6}} { // what is booked stays, whatever comes again
		if got := d.wantSettle("a", "m", u, noon.AddDate(0, 0, -1), ""); got != (bus.Settled{Amount: 37, Duplicate: true}) {
			t.Errorf("again: %+v", got)
		}
	}
	said := d.said(bus.CostRecorded)
	if len(said) != 1 {
		t.Fatalf("recorded %d times", len(said))
	}
	var f bus.CostFact
	if err := json.Unmarshal([]byte(said[0]), &f); err != nil || f.ID != "a" || f.Amount != 37 || f.Usage != u || !f.Time.Equal(noon) || f.Purpose != "tool:weather" {
		t.Errorf("recorded %+v, %v", f, err)
	}
	d.audit()
}

func TestSettleRefuses(t *testing.T) {
	d := newDesk(t, nil)
	for _, u := range []bus.Usage{{Input: -1}, {Output: maxTokens + 1}, {CacheRead: -1}, {CacheWrite: -5}} {
		d.wantSettle("a", "m", u, noon, bus.CodeInvalid)
	}
	d.wantSettle("", "m", bus.Usage{}, noon, bus.CodeInvalid)
	if len(d.said(bus.CostRecorded)) > 0 {
		t.Error("something was booked")
	}
}

// A call whose price is gone stays with the caller until the price is back.
func TestSettleWithoutAPrice(t *testing.T) {
	d := newDesk(t, nil)
	d.spend("before", 5)
	d.restart(func(c *Config, _ *Deps) { c.Prices = nil })
	d.wantSettle("a", "m", bus.Usage{Input: 10}, noon, bus.CodePriceUnknown)
	if got := d.wantSettle("before", "m", bus.Usage{Input: 5}, noon, ""); !got.Duplicate || got.Amount != 5 {
		t.Errorf("booked before: %+v", got)
	}
	problems := d.health()
	if len(problems) != 1 || problems[0].Code != "price_unknown" || !strings.Contains(problems[0].Hint, `[cost.prices."m"]`) {
		t.Errorf("health: %+v", problems)
	}
	for i := range 20 { // what health remembers is bounded
		d.wantSettle("b", fmt.Sprint("model-", i), bus.Usage{}, noon, bus.CodePriceUnknown)
	}
	if n := len(d.health()); n != maxUnpriced {
		t.Errorf("%d problems, want %d", n, maxUnpriced)
	}
	d.restart(func(c *Config, _ *Deps) { c.Prices = map[string]Price{"m": {Input: 1, Output: 1}} })
	d.wantSettle("a", "m", bus.Usage{Input: 10}, noon, "")
	if got := d.summary().Today; got != 15 || len(d.health()) > 0 {
		t.Errorf("today %v, health %+v", got, d.health())
	}
}

// The marks are said once a period and limit, also over restarts.
func TestMarks(t *testing.T) {
	d := newDesk(t, func(c *Config, _ *Deps) { c.DailyUSD, c.MonthlyUSD = 1, 1.5 })
	want := func(warned, exhausted int) {
		t.Helper()
		if w, e := len(d.said(bus.BudgetWarned)), len(d.said(bus.BudgetExhausted)); w != warned || e != exhausted {
			t.Fatalf("warned %d times, exhausted %d times; want %d and %d", w, e, warned, exhausted)
		}
	}
	d.spend("1", 799_999)
	want(0, 0)
	d.spend("2", 1) // 80 % of the day
	want(1, 0)
	d.spend("3", 199_999)
	d.restart(nil)
	want(1, 0)
	d.spend("4", 1) // 100 % of the day
	want(1, 1)
	d.restart(nil)
	d.spend("5", 200_000) // booked although over; 80 % of the month
	want(2, 1)
	if codes := problemCodes(d.health()); len(codes) != 1 || codes[0] != "budget_exhausted" {
		t.Errorf("health: %v", codes)
	}
	var f bus.BudgetFact
	said := d.said(bus.BudgetWarned)
	if err := json.Unmarshal([]byte(said[1]), &f); err != nil || f.Period != "month" || f.Start != "2026-07-01" || f.Spent != 1_200_000 || f.Limit != 1_500_000 {
		t.Errorf("%+v, %v", f, err)
	}
	d.restart(func(c *Config, _ *Deps) { c.DailyUSD = 2 }) // a raised limit is reached anew
	if len(d.health()) > 0 {
		t.Errorf("health: %+v", d.health())
	}
	d.spend("6", 500_000) // 85 % of the new day; the month at 113 %
	want(3, 2)
	d.clock.Add(24 * time.Hour)
	d.spend("7", 2_000_000) // a new day, both marks at once
	want(4, 3)
	d.audit()
}

func TestRollover(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tc := range []struct {
		name         string
		spend, look  string // when 10 µ$ are spent, and when we look
		today, month bus.MicroUSD
	}{
		{"the same day", "2026-07-15T10:00:00Z", "2026-07-15T21:59:59Z", 10, 10},
		{"local midnight, not UTC", "2026-07-15T10:00:00Z", "2026-07-15T22:00:00Z", 0, 10},
		{"month end", "2026-07-31T21:59:59Z", "2026-07-31T22:00:00Z", 0, 0},
		{"a month later", "2026-07-15T10:00:00Z", "2026-08-15T10:00:00Z", 0, 0},
		{"a year later", "2026-07-15T10:00:00Z", "2027-07-15T10:00:00Z", 0, 0},
		{"new year", "2026-12-31T22:59:59Z", "2026-12-31T23:00:00Z", 0, 0},
		{"the day with 23 hours begins", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z", 10, 10},
		{"the day with 23 hours ends", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", 0, 10},
		{"the day with 25 hours lasts", "2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z", 10, 10},
		{"the day with 25 hours ends", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 0, 10},
		{"leap day", "2028-02-29T12:00:00Z", "2028-02-29T23:00:00Z", 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDesk(t, func(c *Config, deps *Deps) {
				c.DailyUSD, c.MonthlyUSD = 0.00001, 0.00001
				deps.Location = berlin
			})
			d.clock.Set(at(tc.spend))
			d.spend("a", 10)
			d.clock.Set(at(tc.look))
			if sum := d.summary(); sum.Today != tc.today || sum.Month != tc.month {
				t.Errorf("today %v, month %v", sum.Today, sum.Month)
			}
			code := bus.CodeBudget
			if tc.month == 0 {
				code = ""
			}
			d.wantReserve("b", "m", 1, 0, code)
			d.audit()
		})
	}
}

// The end of a period is its local midnight, also across a change of clocks.
func TestSpanEnds(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for when, want := range map[string][2]string{
		"2026-03-29T00:30:00Z": {"2026-03-29T22:00:00Z", "2026-03-31T22:00:00Z"},
		"2026-10-25T12:00:00Z": {"2026-10-25T23:00:00Z", "2026-10-31T23:00:00Z"},
		"2026-12-31T12:00:00Z": {"2026-12-31T23:00:00Z", "2026-12-31T23:00:00Z"},
	} {
		t.Run(when, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, when)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range []span{dayOf(at.In(berlin)), monthOf(at.In(berlin))} {
				if got := s.ends.UTC().Format(time.RFC3339); got != want[i] {
					t.Errorf("%s ends at %s, want %s", s.period, got, want[i])
				}
			}
		})
	}
}

// The day on which a call ended counts, not the day of its settlement; but no
// day to come, and a settlement without a time counts now.
func TestSettleTime(t *testing.T) {
	for _, tc := range []struct {
		name         string
		at           time.Time
		today, month bus.MicroUSD
	}{
		{"just now", noon, 10, 10},
		{"yesterday", noon.AddDate(0, 0, -1), 0, 10},
		{"last month", noon.AddDate(0, -1, 0), 0, 0},
		{"tomorrow", noon.AddDate(0, 0, 1), 10, 10},
		{"never", time.Time{}, 10, 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDesk(t, nil)
			d.wantSettle("a", "m", bus.Usage{Input: 10}, tc.at, "")
			if sum := d.summary(); sum.Today != tc.today || sum.Month != tc.month {
				t.Errorf("today %v, month %v", sum.Today, sum.Month)
			}
			d.audit()
		})
	}
}

// A crash leaves reservations; the next boot releases them, and a settlement
// that comes late is booked all the same.
func TestRestart(t *testing.T) {
	d := newDesk(t, nil)
	d.wantReserve("a", "m", 1000, 0, "")
	d.wantReserve("b", "m", 2000, 0, "")
	d.spend("c", 30)
	if err := d.Service.open(t.Context()); err != nil { // the room restarts within the boot
		t.Fatal(err)
	}
	if got := d.summary().Reserved; got != 3000 {
		t.Errorf("%v set aside after a restart of the room, want 3000 µ$", got)
	}
	d.restart(nil)
	if sum := d.summary(); sum.Reserved != 0 || sum.Today != 30 || sum.Month != 30 {
		t.Errorf("%+v", sum)
	}
	if got := testutil.ToFloat64(d.meter.released); got != 2 {
		t.Errorf("%v released, want 2", got)
	}
	d.spend("a", 400)
	if got := d.summary().Today; got != 430 {
		t.Errorf("today %v", got)
	}
	d.audit()
}

func TestSweep(t *testing.T) {
	d := newDesk(t, func(c *Config, _ *Deps) { c.DailyUSD, c.MonthlyUSD, c.LedgerDays = 0, 0, 31 })
	for i := range sweepBatch + 20 { // more than one batch
		d.wantSettle(fmt.Sprint("old-", i), "m", bus.Usage{Input: 1}, noon.AddDate(0, 0, -32), "")
	}
	d.spend("young", 5)
	d.wantReserve("forgotten", "m", 100, 0, "")
	d.clock.Add(longest + time.Second)
	d.wantReserve("under way", "m", 7, 0, "")
	if err := d.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	var rows, days int64
	if err := d.store.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM cost_ledger), (SELECT sum(amount) FROM cost_day)`).Scan(&rows, &days); err != nil {
		t.Fatal(err)
	}
	if rows != 1 || days != sweepBatch+25 {
		t.Errorf("%d rows and %d µ$ of day totals left", rows, days)
	}
	if b, _ := d.current(); b.reserved != 7 || b.open != 1 || d.summary().Reserved != 7 {
		t.Errorf("%v set aside in %d reservations, want the one under way", b.reserved, b.open)
	}
}

func TestMetrics(t *testing.T) {
	d := newDesk(t, func(c *Config, _ *Deps) {
		c.DailyUSD, c.MonthlyUSD = 1, 0
		for i := range maxModelLabels + 5 {
			c.Prices[fmt.Sprint("model-", i)] = Price{Input: 1, Output: 1}
		}
	})
	reg := prometheus.NewPedanticRegistry()
	for _, c := range d.Door().Metrics {
		reg.MustRegister(c)
	}
	d.spend("a", 250_000)
	d.wantReserve("b", "m", 1000, 0, "")
	d.wantReserve("c", "gpt-9", 1000, 0, bus.CodePriceUnknown)
	want := `# HELP blufio_budget_remaining_usd US dollars left of a budget, +Inf without one; negative when it was passed.
# TYPE blufio_budget_remaining_usd gauge
blufio_budget_remaining_usd{period="day"} 0.75
blufio_budget_remaining_usd{period="month"} +Inf
# HELP blufio_budget_usd US dollars of a budget, cost.daily_usd and cost.monthly_usd; +Inf without one.
# TYPE blufio_budget_usd gauge
blufio_budget_usd{period="day"} 1
blufio_budget_usd{period="month"} +Inf
# HELP blufio_cost_refusals_total Model calls refused, by error code.
# TYPE blufio_cost_refusals_total counter
blufio_cost_refusals_total{code="budget_exhausted"} 0
blufio_cost_refusals_total{code="busy"} 0
blufio_cost_refusals_total{code="internal"} 0
blufio_cost_refusals_total{code="invalid"} 0
blufio_cost_refusals_total{code="price_unknown"} 1
blufio_cost_refusals_total{code="spending_stopped"} 0
blufio_cost_refusals_total{code="unavailable"} 0
# HELP blufio_cost_reservations Model calls with money set aside.
# TYPE blufio_cost_reservations gauge
blufio_cost_reservations 1
# HELP blufio_cost_reserved_usd US dollars set aside for model calls under way.
# TYPE blufio_cost_reserved_usd gauge
blufio_cost_reserved_usd 0.001
# HELP blufio_cost_usd_total US dollars booked since the daemon started.
# TYPE blufio_cost_usd_total counter
blufio_cost_usd_total{model="m",purpose="tool"} 0.25
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "blufio_budget_remaining_usd", "blufio_budget_usd", "blufio_cost_refusals_total",
		"blufio_cost_reservations", "blufio_cost_reserved_usd", "blufio_cost_usd_total"); err != nil {
		t.Error(err)
	}
	d.clock.Add(24 * time.Hour) // a new day needs no booking to be seen
	if b, _ := d.current(); b.day.spent != 0 || b.month.spent != 250_000 {
		t.Errorf("day %v, month %v", b.day.spent, b.month.spent)
	}
	for i := range maxModelLabels + 5 {
		d.wantSettle(fmt.Sprint("many-", i), fmt.Sprint("model-", i), bus.Usage{Input: 1}, d.clock.Now(), "")
	}
	if n := testutil.CollectAndCount(d.meter.usd); n != maxModelLabels+1 {
		t.Errorf("%d label sets, want %d models and %q", n, maxModelLabels, other)
	}
	if n := len(d.summary().Models); n != maxModels {
		t.Errorf("%d models in the summary, want %d", n, maxModels)
	}
}

// Whatever happens in whatever order: the totals are the sums of the ledger, and
// what is set aside is what is open.
func TestRandomSequence(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			d := newDesk(t, func(c *Config, _ *Deps) { c.DailyUSD, c.MonthlyUSD = 0.05, 0.4 })
			r := rand.New(rand.NewPCG(seed, 7))
			spent := map[string]bus.MicroUSD{}
			open := map[string]bus.MicroUSD{}
			for range 300 {
				id := fmt.Sprint("call-", r.IntN(150))
				switch r.IntN(10) {
				case 0:
					d.clock.Add(time.Duration(r.IntN(20)) * time.Hour)
				case 1:
					if r.IntN(5) == 0 {
						d.restart(nil)
						clear(open)
					}
				case 2, 3, 4, 5:
					got, err := d.reserve(t.Context(), bus.Reserve{ModelCall: bus.ModelCall{ID: id, Model: "m"}, InputTokens: r.Int64N(9000)})
					if err == nil {
						open[id] = got.Amount
					}
				default:
					got := d.wantSettle(id, "m", bus.Usage{Input: r.Int64N(9000), Output: r.Int64N(10)}, d.clock.Now().Add(-time.Duration(r.IntN(40))*time.Hour), "")
					if booked, before := spent[id]; before != got.Duplicate || before && booked != got.Amount {
						t.Fatalf("%s booked as %v, then %+v", id, booked, got)
					}
					spent[id] = got.Amount
					delete(open, id)
				}
			}
			var total, reserved, ledger bus.MicroUSD
			for _, v := range spent {
				total += v
			}
			for _, v := range open {
				reserved += v
			}
			if err := d.store.QueryRow(t.Context(), `SELECT coalesce(sum(amount), 0) FROM cost_ledger`).Scan(&ledger); err != nil {
				t.Fatal(err)
			}
			if ledger != total || d.summary().Reserved != reserved {
				t.Errorf("ledger %v, want %v; set aside %v, want %v", ledger, total, d.summary().Reserved, reserved)
			}
			d.audit()
		})
	}
}
