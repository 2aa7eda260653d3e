// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"regexp"
	"strings"
	"testing"

	"github.com/blufio/blufio/services"
)

func TestEffect(t *testing.T) {
	for hint, want := range map[string]string{
		"wait": "wait",
		"raise cost.daily_usd or cost.monthly_usd, or wait": "raise cost.daily_usd or cost.monthly_usd, or wait (a change takes effect with `blufio config reload`)",
		`set [cost.prices."a/b.c"] input = 1`:               "set [cost.prices.\"a/b.c\"] input = 1 (a change takes effect with `blufio config reload`)",
		"raise memory.limit_mb.":                            "raise memory.limit_mb. (a change takes effect with a restart)",
		"see memory.limit_mb and cost.daily_usd":            "see memory.limit_mb and cost.daily_usd (a change of cost.daily_usd takes effect with `blufio config reload`, of memory.limit_mb with a restart)",
		"raise memory.limit_mb and restart":                 "raise memory.limit_mb and restart",
		"look at openai.api_key":                            "look at openai.api_key",
		"see blufio.toml":                                   "see blufio.toml",
	} {
		if got := Effect(hint); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", hint, got, want)
		}
	}
}

// No check of the table advises a restart for what a reload changes, or a key of a
// section whose full name would tell it.
func TestHintsKnowWhatIsLive(t *testing.T) {
	short := regexp.MustCompile(`[a-z_]+ in \[[a-z.]+\]|\[[a-z.]+\] and restart`)
	live := newEffects()
	for _, p := range table() {
		fix := p.Found(services.Result{}).Fix
		if short.MatchString(fix) {
			t.Errorf("%s: %s", p.ID, fix)
		}
		for key, now := range live {
			if now && strings.Contains(fix, key) && strings.Contains(fix, "restart") && !strings.Contains(fix, "reload") {
				t.Errorf("%s: %s is live: %s", p.ID, key, fix)
			}
		}
	}
}
