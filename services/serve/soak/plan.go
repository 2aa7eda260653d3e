// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Phases.
const (
	idle    = "idle"
	steady  = "steady"
	burst   = "burst"
	rest    = "rest"    // after the burst
	hostile = "hostile" // see hostile.go
	calm    = "calm"    // after the hostile phase: how long until all is normal
	swing   = "swing"   // load that comes and goes
	drain   = "drain"   // at the end: until nothing waits
	million = "million"
)

// phase is a part of a run.
type phase struct {
	name string
	last time.Duration
}

const (
	round     = 30 * time.Minute // the shortest in which every phase has its full length
	longest   = 6 * time.Hour    // of one round: a long run has several
	settle    = time.Minute      // after which a burst is forgotten and all is normal
	idleFor   = time.Minute
	burstFor  = time.Minute
	restFor   = settle
	attackFor = 10 * time.Minute // the hostile phase
	calmFor   = settle + 10*time.Second
	swingFor  = 10 * time.Minute
	tightMB   = 128 // a limit that the crowd brings near, in MiB
)

// plan divides a time into phases: rounds of idle, steady, burst, rest, hostile and
// calm. What a round has left goes to steady. A run that is shorter than one round
// has one, in which everything is shorter.
func plan(total time.Duration) []phase {
	part := func(d time.Duration) time.Duration { return scaled(d, total) }
	others := part(idleFor + burstFor + restFor + attackFor + calmFor)
	rounds := max(1, int((total+longest-1)/longest))
	var out []phase
	for range rounds {
		out = append(out, phase{idle, part(idleFor)}, phase{steady, total/time.Duration(rounds) - others}, phase{burst, part(burstFor)}, phase{rest, part(restFor)},
			phase{hostile, part(attackFor)}, phase{calm, part(calmFor)})
	}
	return out
}

// scaled is d of a full round, in a run of total.
func scaled(d, total time.Duration) time.Duration {
	return time.Duration(float64(d) * min(1, float64(total)/float64(round)))
}

// millionAgent makes conversations that are full, and summarised again and again, before
// the turns that are judged begin: with the 4 000 tokens of an installation, messages as
// short as those here would go on filling them for the whole of a million turns.
const millionAgent = "history_tokens = 400\n"

// work is one daemon's part of a run.
type work struct {
	name   string
	tags   string // of its binary
	warn   int    // percent of the limit, where it is another than as installed
	acts   bool   // its governor has to: else it was not attacked hard enough
	goPart int64  // of the limit, in percent, that Go's runtime is told by GOMEMLIMIT; 0: nothing, as installed
	phases []phase
	// Of these phases memory at rest is shown, not judged: they are too short to say
	// anything, or come after more than the bar is for.
	shownOnly []string
}

// works are the daemons of a run. The main one has the whole time; two shorter ones
// come on top.
func (o options) works() []work {
	if o.turns > 0 {
		return []work{{name: million, phases: []phase{{idle, 10 * time.Second}, {million, 0}, {rest, settle}}, shownOnly: []string{idle, rest}}}
	}
	if len(o.byHand) > 0 {
		return []work{{name: "phases", phases: o.byHand}}
	}
	attack := scaled(attackFor, o.total) * 3 / 10
	return []work{
		{name: "governed", acts: o.total >= round && o.limitMB <= tightMB, phases: plan(o.total)},
		// A load that comes and goes has to cross a threshold to tell anything.
		{name: swing, warn: 28, phases: []phase{{idle, scaled(10*time.Second, o.total)}, {swing, scaled(swingFor, o.total)}}, shownOnly: []string{idle}},
		// Bounds are of what is live. How much garbage may lie beside it is the collector's
		// affair, which nobody else tells it here.
		{name: "ungoverned", tags: "ungoverned", goPart: 60, phases: []phase{{idle, attack / 10}, {hostile, attack}, {calm, scaled(calmFor, o.total)}}},
	}
}

// parsePhases reads "idle=1m,hostile=1h,calm=70s".
func parsePhases(s string) ([]phase, error) {
	var out []phase
	for part := range strings.SplitSeq(s, ",") {
		name, last, _ := strings.Cut(part, "=")
		d, err := time.ParseDuration(last)
		if err != nil || d <= 0 {
			return nil, fmt.Errorf("%q is not a phase and its time, such as hostile=1h", part)
		}
		if known := []string{idle, steady, burst, rest, hostile, calm, swing}; !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no phase %q, only %s", name, strings.Join(known, ", "))
		}
		out = append(out, phase{name, d})
	}
	return out, nil
}
