// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"fmt"
	"slices"
	"time"
)

// row is one measurement against its bar.
type row struct {
	what, measured, bar string
	verdict             verdict
}

type verdict string

// Verdicts.
const (
	held    verdict = "held"
	missed  verdict = "**missed**"
	shown   verdict = ""
	noProof verdict = "too short to judge"
	noCross verdict = "not judged: no level was reached"
)

func judged(ok bool) verdict {
	if ok {
		return held
	}
	return missed
}

const (
	idleBar   = 40  // MB
	steadyBar = 100 // MB
	slopeBar  = 0.2 // MB per slopeTurns
	slopeUnit = 100_000
	changeBar = 2 // in changeIn
	changeIn  = 10 * time.Minute

	block      = 10_000    // turns of one minimum
	fitTurns   = 1_000_000 // the last of them are fitted
	leastTurns = 500_000   // of which to judge growth
	leastFit   = 8         // minima of which to show a slope
)

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/mb) }

// during are the samples of a phase.
func during(all []sample, phase string) (out []sample) {
	for _, s := range all {
		if s.phase == phase {
			out = append(out, s)
		}
	}
	return out
}

// most is the largest resident set.
func most(all []sample) (bytes int64) {
	for _, s := range all {
		bytes = max(bytes, s.rss)
	}
	return bytes
}

// mostAnonymous is the most that no file backs.
func mostAnonymous(all []sample) (bytes int64) {
	for _, s := range all {
		bytes = max(bytes, s.anonymous)
	}
	return bytes
}

// levelRow tells how far an attack came. Where the governor has to act, one that has
// not brought it to do so has shown nothing.
func levelRow(part []sample, acts bool) row {
	var highest, refused int64
	for _, s := range part {
		highest, refused = max(highest, s.pressure), max(refused, s.refused)
	}
	r := row{"hostile: highest level; new sessions refused", fmt.Sprintf("%s; %d", levelNames[highest], refused), "for comparison", shown}
	if acts {
		r.bar, r.verdict = "at least warn", judged(highest > 0)
	}
	return r
}

// stretches are the samples of a phase, one slice for each time it came.
func stretches(all []sample, phase string) (out [][]sample) {
	before := ""
	for _, s := range all {
		if s.phase == phase && before != phase {
			out = append(out, nil)
		}
		if s.phase == phase {
			out[len(out)-1] = append(out[len(out)-1], s)
		}
		before = s.phase
	}
	return out
}

// idleRows judge memory at the end of idle, and a minute after each burst; of the phases
// in shownOnly they show it.
func idleRows(all []sample, shownOnly []string) (rows []row) {
	for _, part := range []struct{ phase, what string }{
		{idle, "idle RSS, everything on, at the end of the phase, most of the rounds"}, {rest, "RSS a minute after a burst, most of the rounds"},
	} {
		var worst int64
		full := true
		for _, s := range stretches(all, part.phase) {
			last := s[len(s)-1]
			full = full && last.at-s[0].at >= settle-5*time.Second
			worst = max(worst, last.rss)
		}
		if worst == 0 {
			continue
		}
		r := row{part.what, megabytes(worst), fmt.Sprintf("≤ %d MB", idleBar), judged(worst <= idleBar*mb)}
		if slices.Contains(shownOnly, part.phase) {
			r.bar, r.verdict = "for comparison", shown
		} else if !full && r.verdict == missed {
			r.verdict = noProof
		}
		rows = append(rows, r)
	}
	return rows
}

// steadyRows judge memory under load, and whether the load was one.
func steadyRows(all []sample) (rows []row) {
	var turns int64
	var lasted time.Duration
	for _, s := range stretches(all, steady) {
		turns += s[len(s)-1].turns - s[0].turns
		lasted += s[len(s)-1].at - s[0].at
	}
	if lasted == 0 {
		return nil
	}
	rate := float64(turns) / lasted.Seconds()
	worst := most(during(all, steady))
	return []row{
		{fmt.Sprintf("steady: turns a second in %d sessions", steadySessions), fmt.Sprintf("%.1f", rate), fmt.Sprintf("≥ %.0f", 0.95*steadyRate), judged(rate >= 0.95*steadyRate)},
		{"steady: RSS, most", megabytes(worst), fmt.Sprintf("≤ %d MB", steadyBar), judged(worst <= steadyBar*mb)},
	}
}

// changes is the most level changes within changeIn.
func changes(all []sample) int {
	var at []time.Duration
	level := int64(unknown)
	for _, s := range all {
		if s.pressure == unknown {
			continue
		}
		if level != unknown && s.pressure != level {
			at = append(at, s.at)
		}
		level = s.pressure
	}
	worst := 0
	for i := range at {
		n := 0
		for _, later := range at[i:] {
			if later-at[i] < changeIn {
				n++
			}
		}
		worst = max(worst, n)
	}
	return worst
}

func swingRow(all []sample) []row {
	part := during(all, swing)
	if len(part) == 0 {
		return nil
	}
	n, highest := changes(part), int64(0)
	for _, s := range part {
		highest = max(highest, s.pressure)
	}
	crossed := judged(n <= changeBar)
	if highest == 0 {
		crossed = noCross // of a level that is never left, nothing is to be said
	}
	return []row{{fmt.Sprintf("load that comes and goes: level changes in %s (highest: %s)", changeIn, levelNames[highest]), fmt.Sprint(n), fmt.Sprintf("≤ %d", changeBar), crossed}}
}

// course is what a phase did, by the turns within it alone.
type course struct {
	at    []int64 // turn
	size  []float64
	index []int // of the samples
}

func courseOf(all []sample, phase string) (c course) {
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

// fitted tells from which turn on the minima of how many turns are fitted.
func (c course) fitted() (from, each int64) { return max(0, c.turns()-fitTurns), block }

// slopeRow fits the minima of the last turns of a phase.
func slopeRow(all []sample, phase string) []row {
	c := courseOf(all, phase)
	from, each := c.fitted()
	points := minima(c.at, c.size, from, each)
	if len(points) < leastFit {
		return []row{{phase + ": slope of the minima of each 10 000 turns", fmt.Sprintf("only %d minima", len(points)), fmt.Sprintf("≤ %g MB per 100 000 turns", slopeBar), noProof}}
	}
	t := fit(points, 1)
	r := row{fmt.Sprintf("%s: slope over the last %d turns, per 100 000 turns: fitted, and its upper 95 %% bound (lower: %.3f MB, residuals drawn %d together)", phase, len(points)*block, t.lower*slopeUnit, t.run),
		fmt.Sprintf("%.3f, %.3f MB", t.slope*slopeUnit, t.upper*slopeUnit), fmt.Sprintf("≤ %g MB", slopeBar), judged(t.upper*slopeUnit <= slopeBar)}
	if int64(len(points))*block < leastTurns && r.verdict == missed {
		r.verdict = noProof
	}
	return []row{r}
}
