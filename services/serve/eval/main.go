// SPDX-License-Identifier: MIT OR Apache-2.0

// Command eval measures what the agent remembers of a long conversation, and what that costs. Run it with `make eval`.
//
// A seed makes a conversation of 500 turns over 50 days (plan.go): a person tells some 150 facts, a fifth of which change later, said as
// changes or simply said otherwise, or are known of eight people who are easily mistaken for each other; all else is talk of the same
// things that tells nothing. Then it is asked, a week later (things.go). The kinds of questions:
//
//	verbatim                        in the words of the fact
//	verbatim, misspelt              the same, two letters changed in every longer word
//	paraphrase, one word in common  the topic's word, and nothing else
//	paraphrase, no word in common   what only a model of meaning can find; the built-in embedder compares words and parts of them
//	update                          of a fact that was told anew, as a change; only the new value is right
//	contradiction                   of a fact that was told with another value as if nothing had been said before
//	distractor                      of one of eight people of whom the same is known
//
// The conversation is had with the whole daemon, in this process, over its bus (house.go), with a clock that is set, and a model that
// speaks a vendor's wire (model.go): it calls the tool remember for what the plan says is worth it, and sums up by taking over
// sentences. What is judged is what the daemon gives to the model, not what a model would make of it:
//
//	recall@5    the fact with the right value is among the first five that recall.search finds
//	answerable  the right value stands in the prompt of the question, asked in the same conversation after all its compactions, or in
//	            a new one, which knows nothing but what is recalled
//	tokens      of all prompts of a turn, those of tools' rounds and of summaries included
//
// Compared are: the settings as installed, the search by words alone, that by vectors alone, and the full history in every
// prompt (full.go), which can answer everything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/blufio/blufio/services/serve"
)

func main() {
	seeds := flag.Uint64("seeds", 3, "how many conversations")
	from := flag.Uint64("seed", 1, "the seed of the first one")
	turns := flag.Int("turns", 500, "turns of each")
	model := flag.String("model-dir", "", "directory of a sentence model; empty: the built-in embedder")
	write := flag.Bool("write", true, "append to BENCHMARKS.md")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := report{date: time.Now().UTC(), commit: commit(), turns: *turns, embedder: "built-in"}
	if *model != "" {
		r.embedder = *model
	}
	for i := range *seeds {
		r.seeds = append(r.seeds, *from+i)
	}
	if err := r.eval(ctx, with(*model), *write); err != nil {
		fmt.Fprintln(os.Stderr, "eval:", err)
		os.Exit(1)
	}
}

// with are the ways, with a model.
func with(model string) (out []way) {
	for _, w := range ways {
		out = append(out, way{w.name, func(c *serve.Config) {
			w.change(c)
			c.Recall.ModelDir = model
		}})
	}
	return out
}

func (r report) eval(ctx context.Context, ways []way, write bool) error {
	for _, seed := range r.seeds {
		fmt.Fprintf(os.Stderr, "eval: seed %d …\n", seed)
		p, err := newPlan(seed, r.turns)
		if err != nil {
			return err
		}
		results, err := everything(ctx, p, ways)
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		if r.results == nil {
			r.results = results
			continue
		}
		for i := range results {
			r.results[i].add(results[i])
		}
	}
	fmt.Print(r.markdown())
	if !write {
		return nil
	}
	out, err := os.OpenFile("BENCHMARKS.md", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = out.WriteString(r.markdown())
	return errors.Join(err, out.Close())
}
