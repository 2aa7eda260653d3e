// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import "fmt"

// course is what a phase did, by the turns within it alone.
type course struct {
	phase string
	at    []int64 // turn
	size  []float64
	index []int // of the samples
}

func courseOf(all []sample, phase string) course {
	c := course{phase: phase}
	var before, first int64 // turns in the stretches before; turn with which this one began
	in := false
	for i, s := range all {
		if s.phase != phase {
			in = false
			continue
		}
		if !in {
			before, first, in = c.turns(), s.turns, true
		}
		c.at, c.size, c.index = append(c.at, before+s.turns-first), append(c.size, float64(s.rss)/mb), append(c.index, i)
	}
	return c
}

// turns are how many it had.
func (c course) turns() int64 {
	if len(c.at) == 0 {
		return 0
	}
	return c.at[len(c.at)-1]
}

// fitted tells from which turn on the minima of how many turns are fitted, and to what
// bar. In the million, which is as fast as it goes, nothing short is judged.
func (c course) fitted() (from, each int64, bar float64) {
	if c.phase == million || c.turns() >= leastTurns {
		return max(0, c.turns()-fitTurns), block, slopeBar
	}
	return warmTurns, max(1, c.turns()/shortMost/shortBlock) * shortBlock, shortBar
}

// slopeRow judges whether memory grows in a phase.
func slopeRow(all []sample, phase string) row {
	c := courseOf(all, phase)
	from, each, bar := c.fitted()
	points := minima(c.at, c.size, from, each)
	r := row{what: fmt.Sprintf("%s: slope of the minima of each %d turns, per 100 000 turns", phase, each), measured: fmt.Sprintf("only %d minima", len(points)),
		bar: fmt.Sprintf("≤ %g MB", bar), verdict: noProof}
	if bar == shortBar {
		r.bar += fmt.Sprintf(" (%g bytes lost with each turn)", bar*mb/slopeUnit)
	}
	if len(points) < leastFit {
		return r
	}
	t := fit(points, 1)
	r.what = fmt.Sprintf("%s: slope over the last %d turns, of the minima of each %d, per 100 000 turns: fitted, and its upper 95 %% bound (lower: %.3f MB, residuals drawn %d together)",
		phase, int64(len(points))*each, each, t.lower*slopeUnit, t.run)
	r.measured = fmt.Sprintf("%.3f, %.3f MB", t.slope*slopeUnit, t.upper*slopeUnit)
	if bar == shortBar || c.turns() >= leastTurns {
		r.verdict = judged(t.upper*slopeUnit <= bar)
	}
	return r
}
