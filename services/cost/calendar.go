// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import "time"

// Names of the budgets' periods, as BudgetFact and the tables have them.
const (
	byDay   = "day"
	byMonth = "month"
)

// span is one day or month of the owner's calendar.
type span struct {
	period string    // byDay or byMonth
	start  string    // its first day, YYYY-MM-DD
	ends   time.Time // when the next one begins
}

// adjective names the period in front of "budget".
func (s span) adjective() string {
	if s.period == byDay {
		return "daily"
	}
	return "monthly"
}

// dayOf and monthOf work on dates, never on durations: days have 23 to 25 hours.
func dayOf(t time.Time) span {
	y, m, d := t.Date()
	return span{byDay, t.Format(time.DateOnly), time.Date(y, m, d+1, 0, 0, 0, 0, t.Location())}
}

func monthOf(t time.Time) span {
	y, m, _ := t.Date()
	first := time.Date(y, m, 1, 12, 0, 0, 0, t.Location()) // noon exists on every day
	return span{byMonth, first.Format(time.DateOnly), time.Date(y, m+1, 1, 0, 0, 0, 0, t.Location())}
}
