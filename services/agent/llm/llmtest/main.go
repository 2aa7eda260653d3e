// SPDX-License-Identifier: MIT OR Apache-2.0

// Command llmtest is a model that does not think, to try blufio by hand without a
// key, a bill or a network. It speaks the wire of OpenAI and of Anthropic:
//
//	go run ./services/agent/llm/llmtest
//	go run ./services/agent/llm/llmtest --latency 2s --fail 429=0.3 --fail truncate=0.1
//
// It prints how to have blufio ask it. It repeats what it is told; a message that
// begins with the name of one of the agent's tools, and goes on with the tool's
// input as JSON, has that tool called. What it would bill is printed at its end,
// which is Ctrl-C.
//
// With --fail KIND=RATE it fails that share of all answers: 429 (too many
// requests, try again in a second), 529 (overloaded), stall
// (falls silent half-way) or truncate (the connection breaks half-way).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "llmtest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("llmtest", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "`address` to listen at")
	latency := flags.Duration("latency", 0, "how long every answer takes to begin")
	fails := faults{roll: rand.Float64}
	flags.Func("fail", "`KIND=RATE`: the share of answers that fail by 429, 529, stall or truncate; may be repeated", fails.set)
	if err := flags.Parse(args); err != nil {
		return err
	}
	v, err := fakellm.Start(*listen)
	if err != nil {
		return err
	}
	defer v.Close()
	v.OpenAI.Latency(*latency)
	v.Anthropic.Latency(*latency)
	v.OpenAI.Reply(reply)
	v.Anthropic.Reply(reply)
	v.OpenAI.Twist(fails.twist)
	v.Anthropic.Twist(fails.twist)
	fmt.Fprintf(out, `Chat Completions at %s, Anthropic Messages at %s
To have blufio ask one of them:
  export BLUFIO_AGENT__PROVIDER=openai BLUFIO_OPENAI__BASE_URL=%s
  export BLUFIO_AGENT__PROVIDER=anthropic BLUFIO_ANTHROPIC__BASE_URL=%s
`, v.OpenAI.URL(), v.Anthropic.URL(), v.OpenAI.URL(), v.Anthropic.URL())
	<-ctx.Done()
	for _, b := range slices.Concat(v.OpenAI.Bills(), v.Anthropic.Bills()) {
		fmt.Fprintf(out, "billed: %s, input %d, cache read %d, cache written %d, output %d, whole %t\n",
			b.Model, b.Usage.Input, b.Usage.CacheRead, b.Usage.CacheWrite, b.Usage.Output, b.Whole)
	}
	return nil
}

// reply repeats, or calls the tool that the text names.
func reply(q fakellm.Question) fakellm.Answer {
	if len(q.Results) > 0 {
		return says("The tools said: " + strings.Join(q.Results, "; "))
	}
	name, input, _ := strings.Cut(strings.TrimSpace(q.Text), " ")
	if input == "" {
		input = "{}"
	}
	if slices.Contains(q.Tools, name) && json.Valid([]byte(input)) {
		return fakellm.Answer{Calls: []fakellm.Call{{Name: name, Arguments: input}}, Metered: true}
	}
	return says("You said: " + q.Text)
}

// says streams a text word by word.
func says(text string) fakellm.Answer {
	return fakellm.Answer{Text: strings.SplitAfter(text, " "), Metered: true}
}

// faults are what fails, and how often.
type faults struct {
	rates []fault
	roll  func() float64 // below 1
}

type fault struct {
	kind string
	rate float64
}

func (f *faults) set(value string) error {
	kind, share, _ := strings.Cut(value, "=")
	rate, err := strconv.ParseFloat(share, 64)
	if !slices.Contains([]string{"429", "529", "stall", "truncate"}, kind) || err != nil || !(rate >= 0 && rate <= 1) {
		return fmt.Errorf("it is written like 429=0.2, with 429, 529, stall or truncate and a share of at most 1")
	}
	f.rates = append(f.rates, fault{kind, rate})
	return nil
}

// twist makes an answer fail, by chance.
func (f *faults) twist(a fakellm.Answer) fakellm.Answer {
	at := f.roll()
	for _, r := range f.rates {
		if at -= r.rate; at >= 0 {
			continue
		}
		switch r.kind {
		case "429":
			return fakellm.Limited("1")
		case "529":
			return fakellm.Overloaded()
		case "stall":
			a.End = fakellm.Stall
		case "truncate":
			a.End = fakellm.Cut
		}
		return a
	}
	return a
}
