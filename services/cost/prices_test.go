// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
)

func TestCostOfACall(t *testing.T) {
	price := func(in, out, read, write float64) Price {
		return Price{Input: in, Output: out, CacheRead: read, CacheWrite: write}
	}
	for _, tc := range []struct {
		name  string
		price Price
		usage bus.Usage
		want  bus.MicroUSD
	}{
		{"nothing used", price(3, 15, 0, 0), bus.Usage{}, 0},
		{"a million of each", price(3, 15, 0.3, 3.75), bus.Usage{Input: 1e6, Output: 1e6, CacheRead: 1e6, CacheWrite: 1e6}, 22_050_000},
		{"exactly one micro-dollar", price(1, 10, 0, 0), bus.Usage{Input: 1}, 1},
		{"a fraction is rounded up", price(0.075, 0.3, 0, 0), bus.Usage{Input: 1}, 1},
		{"once a call, not once a kind", price(0.4, 0.4, 0.4, 0.4), bus.Usage{Input: 1, Output: 1, CacheRead: 1, CacheWrite: 1}, 2},
		{"just above a whole number", price(1, 10, 0.000001, 1), bus.Usage{Input: 7, CacheRead: 1}, 8},
		{"prices with many decimals", price(0.0375, 0.15, 0.01, 0.0375), bus.Usage{Input: 80_000, Output: 2_000}, 3_300},
		{"cache prices unset are those of input", price(2, 8, 0, 0), bus.Usage{CacheRead: 10, CacheWrite: 10}, 40},
		{"free", Price{Free: true}, bus.Usage{Input: 1e6, Output: 1e6}, 0},
		{"the most of everything", price(maxPriceUSD, maxPriceUSD, maxPriceUSD, maxPriceUSD),
			bus.Usage{Input: maxTokens, Output: maxTokens, CacheRead: maxTokens, CacheWrite: maxTokens}, 4_000_000_000_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := tc.price.rate()
			if err != nil {
				t.Fatal(err)
			}
			if got := r.cost(tc.usage); got != tc.want {
				t.Errorf("cost is %d, want %d", got, tc.want)
			}
		})
	}
}

func TestWorstCase(t *testing.T) {
	for _, tc := range []struct {
		name    string
		price   Price
		in, out int64
		want    bus.MicroUSD
	}{
		{"no discount by the cache", Price{Input: 3, Output: 15, CacheRead: 0.3}, 1000, 100, 4500},
		{"writing to the cache is dearer", Price{Input: 3, Output: 15, CacheWrite: 3.75}, 1000, 100, 5250},
		{"reading is dearer, against all sense", Price{Input: 1, Output: 1, CacheRead: 2}, 10, 0, 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := tc.price.rate()
			if err != nil {
				t.Fatal(err)
			}
			if got := r.worst(tc.in, tc.out); got != tc.want {
				t.Errorf("worst case is %d, want %d", got, tc.want)
			}
		})
	}
}

// FuzzCost holds the arithmetic against arbitrary precision.
func FuzzCost(f *testing.F) {
	f.Add(int64(3_000_000), int64(15_000_000), int64(1000), int64(50))
	f.Add(int64(1), int64(1), int64(1), int64(0))
	f.Fuzz(func(t *testing.T, in, out, tin, tout int64) {
		bound := func(v, most int64) int64 { return int64(uint64(v) % uint64(most+1)) }
		in, out = bound(in, maxPriceUSD*1e6), bound(out, maxPriceUSD*1e6)
		tin, tout = bound(tin, maxTokens), bound(tout, maxTokens)
		got := rate{input: in, output: out}.cost(bus.Usage{Input: tin, Output: tout})
		sum := new(big.Int).Mul(big.NewInt(in), big.NewInt(tin))
		sum.Add(sum, new(big.Int).Mul(big.NewInt(out), big.NewInt(tout)))
		want, rest := sum.DivMod(sum, big.NewInt(1_000_000), new(big.Int))
		if rest.Sign() > 0 {
			want.Add(want, big.NewInt(1))
		}
		if want.Cmp(big.NewInt(int64(got))) != 0 {
			t.Errorf("%d × %d + %d × %d costs %d, want %v", tin, in, tout, out, got, want)
		}
	})
}

func TestPricesRefused(t *testing.T) {
	for _, tc := range []struct {
		name  string
		price Price
		want  string
	}{
		{"empty", Price{}, "needs both input and output, or free = true"},
		{"output forgotten", Price{Input: 3}, "needs both input and output, or free = true"},
		{"input forgotten", Price{Output: 3}, "needs both input and output, or free = true"},
		{"free and priced", Price{Input: 1, Free: true}, "is free and has a price: remove one of them"},
		{"negative", Price{Input: -1, Output: 3}, "must not be negative, not -1"},
		{"not a number", Price{Input: math.NaN(), Output: 3}, "must not be negative, not NaN"},
		{"too dear", Price{Input: 10_001, Output: 3}, "must be at most 10000, not 10001"},
		{"lost decimals", Price{Input: 0.1234567, Output: 3}, "must have at most six decimals, not 0.1234567"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.price.Validate(); err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if _, err := newRates(map[string]Price{"m": tc.price}); err == nil {
				t.Error("the ledger takes it all the same")
			}
		})
	}
}

func TestPriceOfAModel(t *testing.T) {
	r, err := newRates(map[string]Price{
		"claude-x": {Input: 1, Output: 2}, "claude-x-20250101": {Input: 3, Output: 4}, "gpt-4o": {Input: 7, Output: 8}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		model string
		input float64 // dollars; 0: unknown
	}{
		{"claude-x", 1},
		{"claude-x-20250101", 3}, // exact before the name without a date
		{"claude-x-20251231", 1},
		{"claude-x-latest", 1},
		{"gpt-4o", 7}, // the owner's before the shipped
		{"gpt-4o-2024-08-06", 7},
		{"gpt-4o-2024-05-13", 5},
		{"claude-opus-4-1-20250805", 15},
		{"claude-x-2025", 0},
		{"claude-x-20250101-preview", 0},
		{"Claude-X", 0},
		{"x", 0},
	} {
		t.Run(tc.model, func(t *testing.T) {
			got, err := r.of(tc.model)
			if want := int64(tc.input * 1e6); got.input != want {
				t.Errorf("input price %d, want %d", got.input, want)
			}
			if (tc.input == 0) != (bus.CodeOf(err) == bus.CodePriceUnknown) {
				t.Errorf("error %v", err)
			}
		})
	}
	if offline, err := r.of("offline"); err != nil || !offline.free {
		t.Errorf("offline is not free: %+v, %v", offline, err)
	}
}

// What the hint says can be pasted into the configuration.
func TestUnknownPriceHint(t *testing.T) {
	_, err := rates{}.of(`gpt-9 "pro"`)
	var e *bus.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	const want = `set [cost.prices."gpt-9 \"pro\""] input = …, output = … (USD per million tokens), or free = true`
	if e.Hint != want || !strings.Contains(e.Message, shippedOn) {
		t.Errorf("hint %s\nwant %s\nmessage %s", e.Hint, want, e.Message)
	}
}

func TestConfig(t *testing.T) {
	type root struct {
		Cost Config `koanf:"cost" doc:"Money."`
	}
	load := func(flags map[string]string) (Config, error) {
		c := root{Cost: Defaults()}
		_, err := config.Load(&c, config.Sources{Flags: flags})
		return c.Cost, err
	}
	c, err := load(map[string]string{"cost.daily_usd": "0", "cost.monthly_usd": "12.5", `cost.prices."a.b".input`: "0.075", `cost.prices."a.b".output`: "3"})
	if err != nil {
		t.Fatal(err)
	}
	if c.DailyUSD != 0 || c.MonthlyUSD != 12.5 || c.Prices["a.b"] != (Price{Input: 0.075, Output: 3}) {
		t.Errorf("loaded %+v", c)
	}
	if missing := config.Undocumented(root{Cost: Defaults()}); len(missing) > 0 {
		t.Errorf("undocumented: %v", missing)
	}
	for flag, value := range map[string]string{
		"cost.daily_usd": "-1", "cost.monthly_usd": "0.0000001", "cost.ledger_days": "5", `cost.prices."m".input`: "3",
	} {
		t.Run(flag, func(t *testing.T) {
			if _, err := load(map[string]string{flag: value}); err == nil {
				t.Errorf("%s = %s was accepted", flag, value)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"a negative day":   func(c *Config) { c.DailyUSD = -1 },
		"a negative month": func(c *Config) { c.MonthlyUSD = -0.01 },
		"no ledger":        func(c *Config) { c.LedgerDays = 0 },
		"half a price":     func(c *Config) { c.Prices = map[string]Price{"m": {Input: 1}} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Defaults()
			change(&cfg)
			if _, err := New(cfg, Deps{}); err == nil {
				t.Error("accepted")
			}
		})
	}
}
