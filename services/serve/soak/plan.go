// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import "time"

// Phases.
const (
	idle    = "idle"
	steady  = "steady"
	burst   = "burst"
	rest    = "rest"    // after the burst
	swing   = "swing"   // load that comes and goes
	hostile = "hostile" // see hostile.go
	calm    = "calm"    // after the hostile phase: how long until all is normal
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
	settle    = 60 * time.Second // after which a burst is forgotten and all is normal
	idleFor   = time.Minute
	burstFor  = time.Minute
	restFor   = settle
	swingFor  = 10 * time.Minute
	attackFor = 10 * time.Minute // the hostile phase
	calmFor   = settle + 10*time.Second
)

// plan divides a time into phases: rounds of idle, steady, burst, rest, swing, hostile and
// calm. What a round has left goes to steady. A run that is shorter than one round
// has one, in which everything is shorter.
func plan(total time.Duration) []phase {
	scale := min(1, float64(total)/float64(round))
	part := func(d time.Duration) time.Duration { return time.Duration(float64(d) * scale) }
	others := part(idleFor + burstFor + restFor + swingFor + attackFor + calmFor)
	rounds := max(1, int((total+longest-1)/longest))
	var out []phase
	for range rounds {
		out = append(out, phase{idle, part(idleFor)}, phase{steady, total/time.Duration(rounds) - others}, phase{burst, part(burstFor)}, phase{rest, part(restFor)},
			phase{swing, part(swingFor)}, phase{hostile, part(attackFor)}, phase{calm, part(calmFor)})
	}
	return out
}

// ungovernedPlan is for the daemon without a governor: the same crowd for a fifth of
// the time, at most as long as the other had it.
func ungovernedPlan(total time.Duration) []phase {
	attack := min(total/5, attackFor)
	return []phase{{idle, attack / 10}, {hostile, attack}, {calm, min(calmFor, attack)}}
}

// length is how long phases last together.
func length(phases []phase) (sum time.Duration) {
	for _, p := range phases {
		sum += p.last
	}
	return sum
}
