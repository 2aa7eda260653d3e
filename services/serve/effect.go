// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"slices"
	"strings"

	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/config"
)

// effects say when a change of a key counts, as the struct's tags have it. So no hint
// that names a key needs to know.
type effects map[string]bool

func newEffects() effects { return config.Effects(Defaults()) }

// Effect adds to a hint when a change of the keys that it names counts.
func Effect(hint string) string { return newEffects().of(hint) }

func (e effects) of(hint string) string {
	for _, said := range []string{"restart", "reload", "set-secret"} {
		if strings.Contains(hint, said) {
			return hint
		}
	}
	var live, later []string
	for _, word := range strings.FieldsFunc(hint, func(r rune) bool {
		return r != '.' && r != '_' && (r < 'a' || r > 'z')
	}) {
		key := strings.Trim(word, ".")
		now, is := e[key]
		switch {
		case !is || slices.Contains(live, key) || slices.Contains(later, key):
		case now:
			live = append(live, key)
		default:
			later = append(later, key)
		}
	}
	switch {
	case len(live)+len(later) == 0:
		return hint
	case len(later) == 0:
		return hint + " (a change takes effect with `blufio config reload`)"
	case len(live) == 0:
		return hint + " (a change takes effect with a restart)"
	}
	return hint + " (a change of " + strings.Join(live, ", ") + " takes effect with `blufio config reload`, of " + strings.Join(later, ", ") + " with a restart)"
}

// report adds it to what the rooms advise.
func (e effects) report(r services.Report) services.Report {
	for _, room := range r.Services {
		for i := range room.Problems {
			room.Problems[i].Hint = e.of(room.Problems[i].Hint)
		}
	}
	return r
}

// tell adds it to all that probes advise. Those of the configuration speak of what is
// wrong with a key, and say themselves what to do then.
func (e effects) tell(probes []services.Probe) []services.Probe {
	for i, p := range probes {
		if strings.HasPrefix(p.ID, "BLF-CFG-") {
			continue
		}
		probes[i].Fix = e.of(p.Fix)
		if p.Run == nil {
			continue
		}
		probes[i].Run = func(ctx context.Context) services.Result {
			r := p.Run(ctx)
			r.Fix = e.of(r.Fix)
			return r
		}
	}
	return probes
}
