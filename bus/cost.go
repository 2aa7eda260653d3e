// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"fmt"
	"time"
)

// MicroUSD is money: millionths of a US dollar.
type MicroUSD int64

// USD makes money of dollars, rounded to the nearest micro-dollar.
func USD(dollars float64) MicroUSD {
	if dollars < 0 {
		return -USD(-dollars)
	}
	return MicroUSD(dollars*1e6 + 0.5)
}

// String shows dollars: "$0.0312", with at least two and at most six decimals.
func (m MicroUSD) String() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	s := fmt.Sprintf("%s$%d.%06d", sign, m/1_000_000, m%1_000_000)
	for i := 0; i < 4 && s[len(s)-1] == '0'; i++ {
		s = s[:len(s)-1]
	}
	return s
}

// Usage counts the tokens of one model call. Input excludes what was read from
// or written to the provider's prompt cache.
type Usage struct {
	Input      int64 `json:"input"`
	Output     int64 `json:"output"`
	CacheRead  int64 `json:"cache_read"`
	CacheWrite int64 `json:"cache_write"`
}

// ModelCall identifies one call of a model in the ledger.
type ModelCall struct {
	ID        string `json:"id"` // unique; reserving or settling twice by the same id does nothing
	MessageID string `json:"message_id,omitempty"`
	Session   string `json:"session,omitempty"`
	Provider  string `json:"provider"`
	Model     string `json:"model"`
	Purpose   string `json:"purpose"` // "turn", "tool:NAME", "heartbeat", …
}

// Reserve asks leave to make a model call that may cost up to the price of
// these tokens.
type Reserve struct {
	ModelCall
	InputTokens  int64 `json:"input_tokens"`  // estimate
	OutputTokens int64 `json:"output_tokens"` // the most that was asked for

	// The most that calls of this purpose may cost in a calendar month, beside the
	// budgets of all; 0 means no limit of its own.
	PurposeLimit MicroUSD `json:"purpose_limit_microusd,omitempty"`
}

// Reserved grants it. UsedPercent is how much of the tighter budget is spent or
// reserved, 0 when there is none.
type Reserved struct {
	Amount      MicroUSD `json:"amount_microusd"`
	UsedPercent int      `json:"used_percent"`
}

// Settle books what a model call really used and ends its reservation.
type Settle struct {
	ModelCall
	Usage Usage     `json:"usage"`
	Time  time.Time `json:"time"` // when the call ended; decides the day it counts for
}

// Settled says what was booked.
type Settled struct {
	Amount    MicroUSD `json:"amount_microusd"`
	Duplicate bool     `json:"duplicate,omitempty"` // it had been booked before
}

// CostQuery asks for the ledger's totals.
type CostQuery struct{}

// CostSummary are the ledger's totals. A limit of 0 means none.
type CostSummary struct {
	Today         MicroUSD    `json:"today_microusd"`
	Month         MicroUSD    `json:"month_microusd"`
	Reserved      MicroUSD    `json:"reserved_microusd"`
	DailyLimit    MicroUSD    `json:"daily_limit_microusd"`
	MonthlyLimit  MicroUSD    `json:"monthly_limit_microusd"`
	Stopped       bool        `json:"stopped"` // the kill switch is on
	StoppedReason string      `json:"stopped_reason,omitempty"`
	Models        []ModelCost `json:"models"` // this month, dearest first, at most 50
}

// ModelCost is one model's share of this month.
type ModelCost struct {
	Model  string   `json:"model"`
	Calls  int64    `json:"calls"`
	Usage  Usage    `json:"usage"`
	Amount MicroUSD `json:"amount_microusd"`
}

// SpendingSwitch turns the kill switch on or off.
type SpendingSwitch struct {
	Stopped bool   `json:"stopped"`
	Reason  string `json:"reason,omitempty"`
}

// CostFact: a model call was booked.
type CostFact struct {
	Time time.Time `json:"time"`
	ModelCall
	Usage  Usage    `json:"usage"`
	Amount MicroUSD `json:"amount_microusd"`
}

// BudgetFact: spending crossed a mark of a budget.
type BudgetFact struct {
	Time   time.Time `json:"time"`
	Period string    `json:"period"` // "day" or "month"
	Start  string    `json:"start"`  // the period's first day, YYYY-MM-DD
	Spent  MicroUSD  `json:"spent_microusd"`
	Limit  MicroUSD  `json:"limit_microusd"`
}

// SpendingFact: the kill switch was turned.
type SpendingFact struct {
	Time    time.Time `json:"time"`
	Stopped bool      `json:"stopped"`
	Reason  string    `json:"reason,omitempty"`
}
