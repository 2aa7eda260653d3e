// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/blufio/blufio/bus"
)

// shippedOn dates the prices below. The vendors publish theirs at
//
//	https://platform.claude.com/docs/en/about-claude/pricing
//	https://developers.openai.com/api/docs/pricing
const shippedOn = "2026-10-07"

// shipped are list prices in US dollars per million tokens: input, output, cache
// read, cache write (kept for five minutes; 0 where writing costs the same as
// input). Batch, priority and regional prices are not covered. Models whose
// price depends on the length of the prompt are left out on purpose, for one
// number cannot be right for them: the owner sets it.
var shipped = map[string]Price{
	"offline": {Free: true}, // the built-in stand-in for a model

	"claude-fable-5-1":  {Input: 10, Output: 50, CacheRead: 0.25, CacheWrite: 12.5},
	"claude-fable-5":    {Input: 10, Output: 50, CacheRead: 1, CacheWrite: 12.5},
	"claude-opus-5-5":   {Input: 4, Output: 20, CacheRead: 0.2, CacheWrite: 5},
	"claude-opus-5":     {Input: 5, Output: 25, CacheRead: 0.5, CacheWrite: 6.25},
	"claude-opus-4-8":   {Input: 5, Output: 25, CacheRead: 0.5, CacheWrite: 6.25},
	"claude-opus-4-7":   {Input: 5, Output: 25, CacheRead: 0.5, CacheWrite: 6.25},
	"claude-opus-4-6":   {Input: 5, Output: 25, CacheRead: 0.5, CacheWrite: 6.25},
	"claude-opus-4-5":   {Input: 5, Output: 25, CacheRead: 0.5, CacheWrite: 6.25},
	"claude-opus-4-1":   {Input: 15, Output: 75, CacheRead: 1.5, CacheWrite: 18.75},
	"claude-opus-4-0":   {Input: 15, Output: 75, CacheRead: 1.5, CacheWrite: 18.75},
	"claude-opus-4":     {Input: 15, Output: 75, CacheRead: 1.5, CacheWrite: 18.75},
	"claude-sonnet-5-5": {Input: 2, Output: 10, CacheRead: 0.1, CacheWrite: 2.5},
	"claude-sonnet-5":   {Input: 2, Output: 10, CacheRead: 0.2, CacheWrite: 2.5},
	"claude-sonnet-4-6": {Input: 3, Output: 15, CacheRead: 0.3, CacheWrite: 3.75},
	"claude-sonnet-4-5": {Input: 3, Output: 15, CacheRead: 0.3, CacheWrite: 3.75}, // the Sonnets 4 cost more beyond 200 000 tokens, which have to be asked for
	"claude-sonnet-4-0": {Input: 3, Output: 15, CacheRead: 0.3, CacheWrite: 3.75},
	"claude-sonnet-4":   {Input: 3, Output: 15, CacheRead: 0.3, CacheWrite: 3.75},
	"claude-haiku-4-5":  {Input: 1, Output: 5, CacheRead: 0.1, CacheWrite: 1.25},
	"claude-3-5-haiku":  {Input: 0.8, Output: 4, CacheRead: 0.08, CacheWrite: 1},
	"claude-3-haiku":    {Input: 0.25, Output: 1.25, CacheRead: 0.03, CacheWrite: 0.3},

	"gpt-5.2":           {Input: 1.75, Output: 14, CacheRead: 0.175},
	"gpt-5.1":           {Input: 1.25, Output: 10, CacheRead: 0.125},
	"gpt-5":             {Input: 1.25, Output: 10, CacheRead: 0.125},
	"gpt-5-mini":        {Input: 0.25, Output: 2, CacheRead: 0.025},
	"gpt-5-nano":        {Input: 0.05, Output: 0.4, CacheRead: 0.005},
	"gpt-4.1":           {Input: 2, Output: 8, CacheRead: 0.5},
	"gpt-4.1-mini":      {Input: 0.4, Output: 1.6, CacheRead: 0.1},
	"gpt-4.1-nano":      {Input: 0.1, Output: 0.4, CacheRead: 0.025},
	"gpt-4o":            {Input: 2.5, Output: 10, CacheRead: 1.25},
	"gpt-4o-2024-05-13": {Input: 5, Output: 15}, // dearer than the name without its date
	"gpt-4o-mini":       {Input: 0.15, Output: 0.6, CacheRead: 0.075},
	"o3":                {Input: 2, Output: 8, CacheRead: 0.5},
	"o4-mini":           {Input: 1.1, Output: 4.4, CacheRead: 0.275},
}

// maxTokens bounds each token count of one call. It is a hundred times what any
// model takes; a larger number is a defect.
const maxTokens = 100_000_000

// rate is a price in micro-dollars per million tokens: an exact integer for
// every price of up to six decimals.
type rate struct {
	input, output, cacheRead, cacheWrite int64
	free                                 bool
}

// cost is what the tokens cost, rounded up to the next micro-dollar. Four counts
// of at most maxTokens at prices of at most maxPriceUSD stay below 2^62.
func (r rate) cost(u bus.Usage) bus.MicroUSD {
	const million = 1_000_000
	sum := u.Input*r.input + u.Output*r.output + u.CacheRead*r.cacheRead + u.CacheWrite*r.cacheWrite
	return bus.MicroUSD((sum + million - 1) / million)
}

// worst is the most that a call can cost: no discount by the cache, and the
// dearer price if all input were written to it.
func (r rate) worst(input, output int64) bus.MicroUSD {
	r.input = max(r.input, r.cacheRead, r.cacheWrite)
	return r.cost(bus.Usage{Input: input, Output: output})
}

// rates finds the price of a model.
type rates map[string]rate

// newRates lays the owner's prices over the shipped ones.
func newRates(own map[string]Price) (rates, error) {
	all := maps.Clone(shipped)
	maps.Copy(all, own)
	out := make(rates, len(all))
	for _, model := range slices.Sorted(maps.Keys(all)) {
		r, err := all[model].rate()
		if err != nil {
			return nil, fmt.Errorf("read prices: %s %w", table(model), err)
		}
		out[model] = r
	}
	return out, nil
}

// dated is how vendors end the name of a snapshot: -20250929, -2024-08-06, and
// -latest for the newest.
var dated = regexp.MustCompile(`-(\d{8}|\d{4}-\d{2}-\d{2}|latest)$`)

// of returns the model's price: of its exact name, or else of the name without
// a date. An unknown one is an error of code price_unknown.
func (r rates) of(model string) (rate, error) {
	if found, ok := r[model]; ok {
		return found, nil
	}
	if found, ok := r[dated.ReplaceAllString(model, "")]; ok {
		return found, nil
	}
	return rate{}, bus.Errorf(bus.CodePriceUnknown, "the price of model %q is not known, so it is not called (price list of %s)", model, shippedOn).
		WithHint("set [cost.prices.%s] input = …, output = … (USD per million tokens), or free = true", quote(model))
}

// CheckPrice returns why calls of a model would be refused for want of a price, nil
// if they would not. The error is a bus.Error with a hint.
func (c Config) CheckPrice(model string) error {
	all, err := newRates(c.Prices)
	if err != nil {
		return err
	}
	_, err = all.of(model)
	return err
}

// table is the name of a model's section in the configuration.
func table(model string) string { return "[cost.prices." + quote(model) + "]" }

// quote writes a name as a TOML string. Names hold no control characters.
func quote(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}
