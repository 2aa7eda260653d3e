// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Bars of the way that is installed.
const (
	leastFound   = 0.9
	mostWeighted = 3000
	leastSaved   = 0.8 // of the tokens of the full history
)

// report is what is known in the end.
type report struct {
	date     time.Time
	commit   string
	seeds    []uint64
	turns    int
	embedder string
	results  []result // of ways, the one that is installed first, the full history last
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// markdown is the report as BENCHMARKS.md has it.
func (r report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## Recall, %s, commit %s\n\n", r.date.Format("2006-01-02 15:04 UTC"), r.commit)
	fmt.Fprintf(&b, "`make eval` ([services/serve/eval](services/serve/eval)): %d conversations of %d turns over %d days, seeds %v; embedder: %s. Tokens are bytes of the prompt, four to a token, of all calls\n"+
		"that were made for a turn. Weighted, one counts 1, one that is read from the provider's cache %g, one that is written to it %g; the cache is gone between two days.\n\n",
		len(r.seeds), r.turns, (r.turns+perDay-1)/perDay, r.seeds, r.embedder, readWeight, writeWeight)
	head, line := "| what | questions |", "|---|---|"
	for _, res := range r.results {
		head, line = head+" "+res.name+" |", line+"---|"
	}
	b.WriteString(head + " bar of the first | |\n" + line + "---|---|\n")
	r.shares(&b, fmt.Sprintf("recall@%d", hits), scored.wasFound, len(r.results)-1)
	r.shares(&b, "answerable in the same conversation", scored.inLong, len(r.results))
	r.shares(&b, "answerable in a new one", scored.inNew, len(r.results)-1)
	r.outdated(&b)
	r.costs(&b)
	return b.String()
}

// shares are rows of a share of the questions: of all, and of each kind. The first so many results have it.
func (r report) shares(b *strings.Builder, what string, is func(scored) bool, have int) {
	for _, kind := range append([]string{"", reachable}, kinds...) {
		name, bar, verdict := what+": "+kind, "", ""
		first, of := r.results[0].share(kind, is)
		if kind == "" {
			name = "**" + what + "**"
		}
		if (kind == "" || kind == reachable) && what == fmt.Sprintf("recall@%d", hits) {
			bar, verdict = fmt.Sprintf("≥ %g", leastFound), judged(first >= leastFound)
		}
		fmt.Fprintf(b, "| %s | %d |", name, of)
		for i, res := range r.results {
			if i >= have {
				b.WriteString(" – |")
				continue
			}
			share, _ := res.share(kind, is)
			fmt.Fprintf(b, " %.2f |", share)
		}
		fmt.Fprintf(b, " %s | %s |\n", bar, verdict)
	}
}

// outdated is a row of the changed facts whose older value stands in the prompt of a new conversation too.
func (r report) outdated(b *strings.Builder) {
	changed := func(res result) (n, of int) {
		for _, q := range res.questions {
			if q.kind == update || q.kind == contradict {
				of++
				if q.outdated[1] {
					n++
				}
			}
		}
		return n, of
	}
	_, of := changed(r.results[0])
	fmt.Fprintf(b, "| an outdated value stands there, beside the right one or alone | %d |", of)
	for _, res := range r.results[:len(r.results)-1] {
		n, of := changed(res)
		fmt.Fprintf(b, " %.2f |", float64(n)/float64(max(of, 1)))
	}
	b.WriteString(" – | | |\n")
}

// costs are the rows of tokens.
func (r report) costs(b *strings.Builder) {
	whole := r.results[len(r.results)-1]
	allWhole, weightedWhole := whole.perTurn()
	all, weighted := r.results[0].perTurn()
	row := func(what, bar, verdict string, of func(result) float64, format string) {
		fmt.Fprintf(b, "| %s | |", what)
		for _, res := range r.results {
			fmt.Fprintf(b, " "+format+" |", of(res))
		}
		fmt.Fprintf(b, " %s | %s |\n", bar, verdict)
	}
	row("input tokens per turn", "", "", func(x result) float64 { all, _ := x.perTurn(); return all }, "%.0f")
	row("**the same, weighted**", fmt.Sprintf("≤ %d", mostWeighted), judged(weighted <= mostWeighted), func(x result) float64 { _, w := x.perTurn(); return w }, "%.0f")
	row("tokens of the largest turn", "", "", func(x result) float64 { return x.largest }, "%.0f")
	bar := fmt.Sprintf("≥ %g %%", 100*leastSaved)
	row("**less than the full history, tokens**", bar, judged(1-all/allWhole >= leastSaved), func(x result) float64 { all, _ := x.perTurn(); return 100 * (1 - all/allWhole) }, "%.0f %%")
	row("**less than the full history, weighted**", bar, judged(1-weighted/weightedWhole >= leastSaved), func(x result) float64 { _, w := x.perTurn(); return 100 * (1 - w/weightedWhole) }, "%.0f %%")
	row("calls for a summary, of a conversation", "", "", func(x result) float64 { return float64(x.summaries) / float64(len(r.seeds)) }, "%.0f")
}

func judged(held bool) string {
	if held {
		return "held"
	}
	return "**missed**"
}
