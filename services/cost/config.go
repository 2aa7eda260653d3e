// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/blufio/blufio/bus"
)

// Bounds of the configuration. With the bound on tokens they keep the
// arithmetic of one call within 64 bits.
const (
	maxLimitUSD = 1_000_000
	maxPriceUSD = 10_000 // per million tokens
)

// Config is the section [cost].
type Config struct {
	DailyUSD   float64          `koanf:"daily_usd" live:"true" doc:"Most that model calls may cost in a day, in US dollars; 0 for no limit." min:"0" max:"1000000"`
	MonthlyUSD float64          `koanf:"monthly_usd" live:"true" doc:"Most that model calls may cost in a calendar month, in US dollars; 0 for no limit." min:"0" max:"1000000"`
	LedgerDays int              `koanf:"ledger_days" doc:"Days to keep each model call in the ledger; the totals of days are kept for good." min:"31" max:"36500"`
	Prices     map[string]Price `koanf:"prices" live:"true" doc:"Prices of models, by name; they go before the prices that blufio knows."`
}

// Price is what a model costs, in US dollars per million tokens. Unless it is
// free, it has an input and an output price.
type Price struct {
	Input      float64 `koanf:"input" doc:"US dollars per million input tokens." min:"0" max:"10000"`
	Output     float64 `koanf:"output" doc:"US dollars per million output tokens." min:"0" max:"10000"`
	CacheRead  float64 `koanf:"cache_read" doc:"US dollars per million tokens read from the provider's prompt cache; 0 means the same as input." min:"0" max:"10000"`
	CacheWrite float64 `koanf:"cache_write" doc:"US dollars per million tokens written to the provider's prompt cache; 0 means the same as input." min:"0" max:"10000"`
	Free       bool    `koanf:"free" doc:"Calls cost nothing, as with a model on a machine of your own."`
}

// Defaults are 5 dollars a day, 50 a month, and 400 days of ledger.
func Defaults() Config { return Config{DailyUSD: 5, MonthlyUSD: 50, LedgerDays: 400} }

// Check reports what no tag can say.
func (c Config) Check(report func(key, message, hint string)) {
	if _, err := micro(c.DailyUSD, maxLimitUSD); err != nil {
		report("daily_usd", err.Error(), "")
	}
	if _, err := micro(c.MonthlyUSD, maxLimitUSD); err != nil {
		report("monthly_usd", err.Error(), "")
	}
}

// Validate reports an entry that neither has its prices nor is free.
func (p Price) Validate() error {
	_, err := p.rate()
	return err
}

// rate is the price made exact.
func (p Price) rate() (rate, error) {
	fields := []float64{p.Input, p.Output, p.CacheRead, p.CacheWrite}
	if p.Free {
		if slices.ContainsFunc(fields, func(f float64) bool { return f != 0 }) {
			return rate{}, errors.New("is free and has a price: remove one of them")
		}
		return rate{free: true}, nil
	}
	var exact [4]int64
	for i, usd := range fields {
		m, err := micro(usd, maxPriceUSD)
		if err != nil {
			return rate{}, err
		}
		exact[i] = int64(m)
	}
	r := rate{input: exact[0], output: exact[1], cacheRead: exact[2], cacheWrite: exact[3]}
	if r.input == 0 || r.output == 0 {
		return rate{}, errors.New("needs both input and output, or free = true")
	}
	if r.cacheRead == 0 {
		r.cacheRead = r.input
	}
	if r.cacheWrite == 0 {
		r.cacheWrite = r.input
	}
	return r, nil
}

// micro makes dollars of the configuration exact. A float holds every amount of
// up to six decimals within the bounds closely enough to be recovered; more
// decimals would be lost, so they are refused.
func micro(usd float64, most float64) (bus.MicroUSD, error) {
	switch {
	case math.IsNaN(usd) || usd < 0:
		return 0, fmt.Errorf("must not be negative, not %v", usd)
	case usd > most:
		return 0, fmt.Errorf("must be at most %v, not %v", most, usd)
	}
	m := bus.USD(usd)
	if math.Abs(usd*1e6-float64(m)) > 1e-3 {
		return 0, fmt.Errorf("must have at most six decimals, not %v", usd)
	}
	return m, nil
}
