// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

func TestReserveRefuses(t *testing.T) {
	long := strings.Repeat("x", maxName+1)
	for _, tc := range []struct {
		name string
		req  bus.Reserve
		code bus.Code
	}{
		{"no id", bus.Reserve{ModelCall: bus.ModelCall{Model: "m"}}, bus.CodeInvalid},
		{"no model", bus.Reserve{ModelCall: bus.ModelCall{ID: "a"}}, bus.CodeInvalid},
		{"a name too long", bus.Reserve{ModelCall: bus.ModelCall{ID: "a", Model: "m", Purpose: long}}, bus.CodeInvalid},
		{"a control character", bus.Reserve{ModelCall: bus.ModelCall{ID: "a", Model: "m\n"}}, bus.CodeInvalid},
		{"broken UTF-8", bus.Reserve{ModelCall: bus.ModelCall{ID: "a\xff", Model: "m"}}, bus.CodeInvalid},
		{"negative input", bus.Reserve{ModelCall: bus.ModelCall{ID: "a", Model: "m"}, InputTokens: -1}, bus.CodeInvalid},
		{"absurd output", bus.Reserve{ModelCall: bus.ModelCall{ID: "a", Model: "m"}, OutputTokens: maxTokens + 1}, bus.CodeInvalid},
		{"absurd, though free", bus.Reserve{ModelCall: bus.ModelCall{ID: "a", Model: "home"}, OutputTokens: maxTokens + 1}, bus.CodeInvalid},
		{"unknown price", bus.Reserve{ModelCall: bus.ModelCall{ID: "a", Model: "gpt-9"}}, bus.CodePriceUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDesk(t, nil)
			if _, err := d.reserve(t.Context(), tc.req); bus.CodeOf(err) != tc.code {
				t.Errorf("got %v, want code %s", err, tc.code)
			}
			if sum := d.summary(); sum.Reserved != 0 {
				t.Errorf("%v is set aside", sum.Reserved)
			}
		})
	}
}

// Each refusal names the budget, the amounts, when it ends, and the key.
func TestBudgetRefusals(t *testing.T) {
	for _, tc := range []struct {
		name           string
		daily, monthly float64
		spent, aside   int64 // micro-dollars
		ask            int64
		message, hint  string
		retry          time.Duration
		exhausted      int // events
	}{
		{"one call is more than the budget", 1, 50, 0, 0, 1_000_001,
			"this call may cost up to $1.000001, more than the whole daily budget of $1.00",
			"ask for fewer output tokens, or raise cost.daily_usd", 0, 0},
		{"the day is spent", 1, 50, 1_000_000, 0, 1,
			"the daily budget of $1.00 is exhausted: $1.00 is spent, and this call may cost up to $0.000001; it starts anew at 2026-07-16 00:00 UTC",
			"raise cost.daily_usd, or wait", 12 * time.Hour, 1},
		{"what is left of the day is too little", 1, 50, 900_000, 0, 100_001,
			"the daily budget of $1.00 is exhausted: $0.90 is spent, and this call may cost up to $0.100001; it starts anew at 2026-07-16 00:00 UTC",
			"raise cost.daily_usd, or wait", 12 * time.Hour, 1},
		{"calls under way take the rest", 1, 50, 500_000, 400_000, 100_001,
			"the daily budget of $1.00 is taken: $0.50 is spent, $0.40 is set aside for calls under way, and this call may cost up to $0.100001",
			"try again when those calls have ended, or raise cost.daily_usd", underWay, 0},
		{"the month is spent", 0, 2, 2_000_000, 0, 1,
			"the monthly budget of $2.00 is exhausted: $2.00 is spent, and this call may cost up to $0.000001; it starts anew at 2026-08-01 00:00 UTC",
			"raise cost.monthly_usd, or wait", 16*24*time.Hour + 12*time.Hour, 1},
		{"both are spent: the later end counts", 2, 2, 2_000_000, 0, 1,
			"the monthly budget of $2.00 is exhausted: $2.00 is spent, and this call may cost up to $0.000001; it starts anew at 2026-08-01 00:00 UTC",
			"raise cost.monthly_usd, or wait", 16*24*time.Hour + 12*time.Hour, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDesk(t, func(c *Config, _ *Deps) { c.DailyUSD, c.MonthlyUSD = tc.daily, tc.monthly })
			d.spend("spent", tc.spent)
			if tc.aside > 0 {
				d.wantReserve("aside", "m", tc.aside, 0, "")
			}
			for range 2 { // and again: what is said, is said once
				_, err := d.reserve(t.Context(), bus.Reserve{ModelCall: bus.ModelCall{ID: "a", Model: "m"}, InputTokens: tc.ask})
				var e *bus.Error
				if !errors.As(err, &e) || e.Code != bus.CodeBudget {
					t.Fatalf("got %v", err)
				}
				if e.Message != tc.message || e.Hint != tc.hint || e.RetryAfter != tc.retry {
					t.Errorf("message %q\nhint %q, after %v", e.Message, e.Hint, e.RetryAfter)
				}
			}
			if got := len(d.said(bus.BudgetExhausted)); got != tc.exhausted {
				t.Errorf("exhausted was said %d times, want %d", got, tc.exhausted)
			}
			if tc.exhausted > 0 != (len(d.health()) > 0) {
				t.Errorf("health: %+v", d.health())
			}
			d.wantReserve("free", "home", 1e6, 1e6, "")
			d.audit()
		})
	}
}

func TestReserveUpToTheLimit(t *testing.T) {
	d := newDesk(t, func(c *Config, _ *Deps) { c.DailyUSD, c.MonthlyUSD = 1, 4 })
	if r := d.wantReserve("a", "m", 600_000, 0, ""); r.Amount != 600_000 || r.UsedPercent != 60 {
		t.Errorf("%+v", r)
	}
	if r := d.wantReserve("b", "m", 0, 40_000, ""); r.Amount != 400_000 || r.UsedPercent != 100 {
		t.Errorf("%+v", r)
	}
	d.wantReserve("c", "m", 1, 0, bus.CodeBudget)
	d.audit()
}

func TestNoLimits(t *testing.T) {
	d := newDesk(t, func(c *Config, _ *Deps) { c.DailyUSD, c.MonthlyUSD = 0, 0 })
	if r := d.wantReserve("a", "m", maxTokens, maxTokens, ""); r.UsedPercent != 0 || r.Amount != 1_100_000_000 {
		t.Errorf("%+v", r)
	}
	d.spend("b", maxTokens)
	if len(d.said(bus.BudgetWarned))+len(d.health()) > 0 {
		t.Error("a budget that does not exist was reached")
	}
}

func TestReserveTwice(t *testing.T) {
	d := newDesk(t, nil)
	first := d.wantReserve("a", "m", 100, 10, "")
	if again := d.wantReserve("a", "m", 100, 10, ""); again != first {
		t.Errorf("%+v, then %+v", first, again)
	}
	if got := d.summary().Reserved; got != 200 {
		t.Errorf("%v set aside, want 200 µ$", got)
	}
	d.wantReserve("a", "m", 101, 10, bus.CodeConflict)
	d.wantReserve("a", "claude-opus-5", 100, 10, bus.CodeConflict)
	d.spend("a", 50)
	d.wantReserve("a", "m", 100, 10, bus.CodeConflict) // made and paid
	d.wantSettle("f", "home", bus.Usage{Input: 1}, noon, "")
	d.wantReserve("f", "home", 1, 1, bus.CodeConflict)
	d.audit()
}

// A reservation of a free model writes nothing; one that is refused neither.
func TestCommits(t *testing.T) {
	d := newDesk(t, nil)
	before := d.store.Stats().Commits
	d.wantReserve("a", "home", 1, 1, "")
	d.wantReserve("b", "gpt-9", 1, 1, bus.CodePriceUnknown)
	if n := d.store.Stats().Commits - before; n != 0 {
		t.Errorf("%d commits for a free and an unknown model", n)
	}
	d.wantReserve("c", "m", 1, 1, "")
	d.wantSettle("c", "m", bus.Usage{Input: 1}, noon, "")
	if n := d.store.Stats().Commits - before; n != 2 {
		t.Errorf("%d commits for a call, want 2", n)
	}
}

func TestKillSwitch(t *testing.T) {
	d := newDesk(t, nil)
	set := func(on bool, reason string) bus.CostSummary {
		t.Helper()
		sum, err := d.set(t.Context(), bus.SpendingSwitch{Stopped: on, Reason: reason})
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	d.wantReserve("under way", "m", 1, 1, "")
	if sum := set(true, "card stolen"); !sum.Stopped || sum.StoppedReason != "card stolen" {
		t.Errorf("%+v", sum)
	}
	set(true, "card stolen")
	d.wantReserve("a", "m", 1, 1, bus.CodeStopped)
	d.wantReserve("under way", "m", 1, 1, bus.CodeStopped) // not even the answer from before
	d.wantReserve("b", "home", 1, 1, "")
	d.wantReserve("c", "gpt-9", 1, 1, bus.CodePriceUnknown)
	d.spend("under way", 7) // what was called is booked
	if codes := problemCodes(d.health()); len(codes) != 1 || codes[0] != "spending_stopped" {
		t.Errorf("health: %v", codes)
	}
	d.restart(nil)
	d.wantReserve("a", "m", 1, 1, bus.CodeStopped)
	if len(d.health()) != 1 {
		t.Error("health forgot the switch over a restart")
	}
	if sum := set(false, "new card"); sum.Stopped || sum.StoppedReason != "" || sum.Today != 7 {
		t.Errorf("%+v", sum)
	}
	d.wantReserve("a", "m", 1, 1, "")
	said := d.said(bus.SpendingChanged)
	if len(said) != 2 || !strings.Contains(said[0], "card stolen") || !strings.Contains(said[1], `"stopped":false,"reason":"new card"`) {
		t.Errorf("said %q", said)
	}
	for _, reason := range []string{"two\nlines", strings.Repeat("x", maxReason+1), "\xff"} {
		if _, err := d.set(t.Context(), bus.SpendingSwitch{Stopped: true, Reason: reason}); bus.CodeOf(err) != bus.CodeInvalid {
			t.Errorf("reason %.10q: %v", reason, err)
		}
	}
	d.audit()
}

// A purpose may have a limit of its own, for the month, beside the budgets.
func TestPurposeLimit(t *testing.T) {
	d := newDesk(t, nil)
	reserve := func(id string, amount int64) (bus.Reserved, error) {
		return d.reserve(t.Context(), bus.Reserve{ModelCall: bus.ModelCall{ID: id, Model: "m", Purpose: "heartbeat"}, InputTokens: amount, PurposeLimit: 1000})
	}
	settle := func(id, purpose string, amount int64) {
		t.Helper()
		_, err := d.settle(t.Context(), bus.Settle{ModelCall: bus.ModelCall{ID: id, Model: "m", Purpose: purpose}, Usage: bus.Usage{Input: amount}})
		if err != nil {
			t.Fatal(err)
		}
	}
	settle("other", "turn", 5000)
	if _, err := reserve("a", 600); err != nil {
		t.Fatalf("what others cost counts: %v", err)
	}
	settle("a", "heartbeat", 600)
	if _, err := reserve("b", 401); bus.CodeOf(err) != bus.CodeBudget {
		t.Errorf("beyond its limit: %v", err)
	}
	if _, err := reserve("c", 400); err != nil {
		t.Errorf("up to its limit: %v", err)
	}
	if _, err := reserve("e", 1); bus.CodeOf(err) != bus.CodeBudget {
		t.Errorf("what is set aside does not count: %v", err)
	}
	settle("c", "heartbeat", 0)
	d.clock.Set(noon.AddDate(0, 1, 0))
	if _, err := reserve("d", 1000); err != nil {
		t.Errorf("in the next month: %v", err)
	}
}
