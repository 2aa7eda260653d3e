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
	aTry    verdict = "a try: too short to judge"
	noCross verdict = "not judged: the level was not both normal and more"
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
	slopeBar  = 0.2 // MB per slopeUnit
	slopeUnit = 100_000
	changeBar = 2 // in changeIn
	changeIn  = 10 * time.Minute
	failedOf  = 1000 // turns: one of so many may fail where all is well

	block      = 10_000    // turns of one minimum
	fitTurns   = 1_000_000 // the last of them are fitted
	leastTurns = 500_000   // of which to judge growth by that bar

	// What is shorter cannot show that, for then caches are still filling: after 5 000
	// turns at 50 a second, the six newest runs that are kept went on by 12 to 18 MB per
	// 100 000 turns until their 47 000th, with upper bounds of 15 to 24. It can show that
	// nothing leaks with each turn: 384 bytes that are never given back are 38 MB. Laid
	// over those runs they would have been seen in each, and 256 bytes only just. A house
	// of 1 000 messages a day takes a hundred days for so many turns.
	shortBar   = 40 // MB per slopeUnit
	shortBlock = 1_000
	shortMost  = 50 // minima; of a longer time the blocks are larger
	warmTurns  = 5_000
	leastFit   = 20 // minima of which to judge growth
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

// idleRows judge memory at the end of idle, and a minute after each burst: the median of
// the last quarter of a minute, in which a Prometheus asks once and what answers it is
// resident for a few seconds. Of the phases in shownOnly they show it.
func idleRows(all []sample, shownOnly []string) (rows []row) {
	for _, part := range []struct{ phase, what string }{
		{idle, "idle RSS, with Telegram and commands: median (most) of the last 15 s, worst of the rounds"},
		{rest, "RSS a minute after a burst: median (most) of the last 15 s, worst of the rounds"},
	} {
		var worst, most int64
		full := true
		for _, s := range stretches(all, part.phase) {
			full = full && s[len(s)-1].at-s[0].at >= settle-5*time.Second
			sizes := sizesOf(s[fromLastScrape(s):])
			worst, most = max(worst, sizes[len(sizes)/2]), max(most, sizes[len(sizes)-1])
		}
		if worst == 0 {
			continue
		}
		r := row{part.what, megabytes(worst) + " (" + megabytes(most) + ")", fmt.Sprintf("≤ %d MB", idleBar), judged(worst <= idleBar*mb)}
		if slices.Contains(shownOnly, part.phase) {
			r.bar, r.verdict = "for comparison", shown
		} else if !full {
			r.verdict = noProof // what is held after ten seconds need not be so after a minute
		}
		rows = append(rows, r)
	}
	return rows
}

// fromLastScrape is where the last quarter of a minute begins, in which a Prometheus asks once.
func fromLastScrape(s []sample) int {
	return slices.IndexFunc(s, func(one sample) bool { return one.at > s[len(s)-1].at-askEvery(rest) })
}

// sizesOf are the resident sets of samples, the least first.
func sizesOf(s []sample) (sizes []int64) {
	for _, one := range s {
		sizes = append(sizes, one.rss)
	}
	slices.Sort(sizes)
	return sizes
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
		{fmt.Sprintf("steady: turns a second, of %d sessions in turn, some %d at one time", steadySessions, atOnce), fmt.Sprintf("%.1f", rate), fmt.Sprintf("≥ %g", 0.95*steadyRate), judged(rate >= 0.95*steadyRate)},
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

// swingRows judge whether the level follows each coming and going of a load. Of one that
// was on one side of the warning all the time that is not known.
func swingRows(all []sample) []row {
	part := during(all, swing)
	if len(part) == 0 {
		return nil
	}
	n, highest, normally := changes(part), int64(0), false
	for _, s := range part {
		highest, normally = max(highest, s.pressure), normally || s.pressure == 0
	}
	crossed := judged(n <= changeBar)
	if crossed == held && (highest == 0 || !normally) {
		crossed = noCross
	}
	what := fmt.Sprintf("load that comes and goes, %g s of every %g s: level changes in %s (highest: %s)", swingHalf.Seconds(), 2*swingHalf.Seconds(), changeIn, levelNames[highest])
	return []row{{what, fmt.Sprint(n), fmt.Sprintf("≤ %d", changeBar), crossed}}
}
