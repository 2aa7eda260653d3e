// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// nearLimit is the percentage of a budget from which its end is in sight.
const nearLimit = 80

// Probes are the room's checks. Those of no Service can be listed, not run.
func Probes(s *Service) []services.Probe {
	return []services.Probe{{
		ID: "BLF-COST-001", Title: "The budgets are not spent",
		Why:      "beyond them no model is asked, until the day or the month ends",
		Fix:      "raise cost.daily_usd or cost.monthly_usd, or wait",
		Problems: []string{"budget_exhausted"},
		Run:      s.probeBudgets,
	}, {
		ID: "BLF-COST-002", Title: "Spending is not stopped",
		Why:      "while it is, only free models are asked",
		Fix:      "`blufio cost resume`",
		Problems: []string{"spending_stopped"},
		Run:      s.probeSwitch,
	}, {
		ID: "BLF-COST-003", Title: "Every call could be booked",
		Why:      "a call without a price waits, and the totals are too low meanwhile",
		Fix:      "add the model's price to [cost.prices]",
		Problems: []string{"price_unknown"},
		Run:      s.probePrices,
	}}
}

func (s *Service) totals(ctx context.Context) (books, error) {
	return s.read(s.clock(), func(query string, args ...any) *sql.Row { return s.store.QueryRow(ctx, query, args...) })
}

func (s *Service) probeBudgets(ctx context.Context) services.Result {
	b, err := s.totals(ctx)
	if err != nil {
		return services.Fail("%v", err)
	}
	var parts []string
	worst := services.OK("")
	for _, a := range []account{b.day, b.month} {
		switch {
		case a.limit == 0:
			parts = append(parts, fmt.Sprintf("%v %s, without a limit", a.spent, a.when()))
			continue
		case a.spent >= a.limit:
			worst = services.Fail("").WithFix("raise cost.%s_usd, or wait until %s", a.adjective(), a.ends.Format("2006-01-02 15:04 MST"))
		case a.spent >= a.limit/100*nearLimit && worst.Level == bus.LevelOK:
			worst = services.Warn("").WithFix("raise cost.%s_usd if that is too little", a.adjective())
		}
		parts = append(parts, fmt.Sprintf("%v of %v %s", a.spent, a.limit, a.when()))
	}
	worst.Seen = strings.Join(parts, ", ")
	return worst
}

// when is the account's period as people say it.
func (a account) when() string {
	if a.adjective() == "daily" {
		return "today"
	}
	return "this month"
}

func (s *Service) probeSwitch(ctx context.Context) services.Result {
	b, err := s.totals(ctx)
	switch {
	case err != nil:
		return services.Fail("%v", err)
	case b.stopped && b.reason != "":
		return services.Warn("the kill switch is on: %s", b.reason)
	case b.stopped:
		return services.Warn("the kill switch is on")
	}
	return services.OK("the kill switch is off")
}

func (s *Service) probePrices(context.Context) services.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unpriced) == 0 {
		return services.OK("none waits for a price")
	}
	models := slices.Sorted(maps.Keys(s.unpriced))
	return services.Fail("calls wait for the price of %s", strings.Join(models, ", ")).WithFix("set %s in the configuration", table(models[0]))
}
