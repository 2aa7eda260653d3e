// SPDX-License-Identifier: MIT OR Apache-2.0

// Command embeds times the embedders that work in process, in a process of its own, so that it can be put on one
// processor. It is told how many rounds, and directories of models. In each round every model makes the vector of a text
// of 16 tokens and the embedder without a model those of sentences, so what is compared is measured side by side:
//
//	embeds 100 float32=DIR int8=DIR
//
// prints a line for each sample: what, milliseconds by the clock, and of the processor.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/blufio/blufio/services/recall/embed/bert"
	"github.com/blufio/blufio/services/recall/embed/modeltest"
	"github.com/blufio/blufio/services/recall/embed/static"
	"golang.org/x/sys/unix"
)

const (
	warmUp    = 3   // rounds that do not count
	sentences = 100 // at once, for the embedder without a model: one alone is too short for the clock
	sentence  = "My sister Anna moved to Oslo in 2019 and works as a nurse at the university hospital there."
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "embeds:", err)
		os.Exit(1)
	}
}

// timed is one way to make vectors.
type timed struct {
	name  string
	texts []string
	embed func(ctx context.Context, texts []string) ([][]float32, error)
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) == 0 {
		return errors.New("say how many rounds")
	}
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	all := []timed{{"static", strings.Split(strings.Repeat(sentence+"\n", sentences-1)+sentence, "\n"), static.New().Embed}}
	for _, arg := range args[1:] {
		name, dir, _ := strings.Cut(arg, "=")
		m, err := bert.Open(dir, bert.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		all = append(all, timed{name, []string{modeltest.Tokens(16)}, m.Embed})
	}
	for i := range rounds + warmUp {
		for _, a := range all {
			began, used := time.Now(), spent()
			if _, err := a.embed(ctx, a.texts); err != nil {
				return err
			}
			if i >= warmUp {
				each := 1000 / float64(len(a.texts))
				fmt.Printf("%s %.6f %.6f\n", a.name, time.Since(began).Seconds()*each, (spent()-used).Seconds()*each)
			}
		}
	}
	return nil
}

// spent is this process's time of the processor: where others work too it tells more than the clock.
func spent() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now) // it fails for clocks that there are not
	return time.Duration(now.Nano())
}
