// SPDX-License-Identifier: MIT OR Apache-2.0

// Command soak shows what the daemon's memory does over a long time. It runs the
// real binary in a memory control group, lets it be idle, busy, overrun and attacked,
// reads its memory once a second, draws the curve, and fails when the daemon grows,
// is killed for memory, loses a message that it accepted, has no answers though all is
// well around it, or does not become normal again.
//
//	make soak-memory            half an hour; SOAK=72h for longer, SOAK=2m for a try
//	make soak-million           2 million turns in 5 000 sessions, as fast as they go; the last million is judged
//	SOAK_FLAGS=…                "-one-cpu -limit-mb 1024", or "-phases idle=1m,hostile=1h,calm=70s"
//
//	plan.go      the phases, and how a time is divided into them
//	load.go      who speaks to the daemon: steady, in a burst, on and off
//	hostile.go   the crowd that wants it to fall: very many sessions, the longest texts
//	             and requests, bodies that never end, listeners that never read
//	outside.go   the model, which can be sick: it stalls and talks without end
//	sample.go    the readings, and the CSV file (thin.go: what of them is kept)
//	slope.go     whether memory grows: Theil–Sen over minima, with a block bootstrap
//	growth.go    its verdict
//	verdict.go   the other readings against their bars
//	book.go      every accepted message, looked up in the database afterwards
//	svg.go       the picture
//
// Two more daemons come after the main one: load that comes and goes, to one that is
// told to warn early, so that its level would change all the time; and a hostile phase,
// shorter, to one whose governor only watches (build tag ungoverned), for what is
// bounded must hold by itself. They take at most 15 minutes more.
//
// Whether memory grows is judged in each run: by the bar of the last million turns where
// there are half as many and more, and else by one for a leak with each turn (verdict.go).
// A row that a run of full length could not judge makes it fail as one that was missed
// does; of a try, or of phases by hand, it only says so. A daemon that dies is started
// again; when that fails the run ends, and tells of what there was until then.
//
// A run as long as a round (30 minutes) appends to BENCHMARKS.md and leaves its table
// and picture in contrib/benchmarks; a shorter one is a try and leaves them in
// bin/soak. Durations are of the wall clock: a run is called by how long it lasted, and
// the head of BENCHMARKS.md names the longest.
//
// Where no control group can be made, it says so and goes on without one; memory.limit_mb
// is then the only limit, as installed or what -limit-mb says, whichever is more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// options are what a run is asked for.
type options struct {
	total    time.Duration
	limitMB  int64
	turns    int64   // of a run as fast as it goes; 0: by phases
	byHand   []phase // instead of those that total makes
	oneCPU   bool
	provider string
	silence  time.Duration // of a stalled model, that the daemon bears
	agent    string        // more of the configuration's section [agent]
	only     string        // of the works; "" is all
	out      string
	write    bool // append to BENCHMARKS.md
	report   func(format string, args ...any)
}

func main() {
	var o options
	flag.DurationVar(&o.total, "for", round, "how long the phases last together")
	flag.Int64Var(&o.turns, "turns", 0, "instead of the phases: so many turns in 5 000 sessions, as fast as it goes")
	flag.Func("phases", "instead of them: by hand, such as idle=1m,hostile=1h,calm=70s", func(s string) (err error) {
		o.byHand, err = parsePhases(s)
		return err
	})
	flag.Int64Var(&o.limitMB, "limit-mb", 128, "limit of the control group, in MiB")
	flag.BoolVar(&o.oneCPU, "one-cpu", false, "let the daemon run on one processor")
	flag.StringVar(&o.provider, "provider", "openai", "what answers: openai, a fake in this process that speaks its wire, or offline")
	flag.DurationVar(&o.silence, "silence", 20*time.Second, "how long the daemon bears a stalled model: openai.timeout")
	flag.StringVar(&o.only, "only", "", "only this part: governed, swing or ungoverned")
	flag.StringVar(&o.out, "out", "", "where to put the table and the picture; empty: contrib/benchmarks, and for a try bin/soak")
	flag.BoolVar(&o.write, "write", true, "append to BENCHMARKS.md, unless it was a try")
	flag.Parse()
	o.report = func(format string, args ...any) { fmt.Fprintf(os.Stderr, "soak: "+format+"\n", args...) }
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := soak(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// try reports that a run is too short to be kept.
func (o options) try() bool {
	switch {
	case o.turns > 0:
		return o.turns < fitTurns
	case len(o.byHand) > 0:
		var sum time.Duration
		for _, p := range o.byHand {
			sum += p.last
		}
		return sum < round
	}
	return o.total < round
}

// full reports that a run is as long as it has to be to judge every row.
func (o options) full() bool { return !o.try() && len(o.byHand) == 0 }

func soak(ctx context.Context, o options) (err error) {
	tmp, err := os.MkdirTemp(".", ".soak-") // here, not in /tmp: that may be memory
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if tmp, err = filepath.Abs(tmp); err != nil {
		return err
	}
	if o.out == "" {
		if o.out = filepath.Join("contrib", "benchmarks"); o.try() {
			o.out = filepath.Join("bin", "soak")
		}
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	if o.turns > 0 {
		o.agent += millionAgent
	}
	works := o.works()
	if o.only != "" {
		if works = slices.DeleteFunc(works, func(w work) bool { return w.name != o.only }); len(works) == 0 {
			return fmt.Errorf("there is no part %q in such a run", o.only)
		}
	}
	r := newReport(o)
	return r.tell(works, func(w work) error {
		run, err := newRun(ctx, o, w, filepath.Join(tmp, w.name))
		if err != nil {
			return err
		}
		err = run.drive(ctx)
		return errors.Join(err, r.keep(run))
	}, os.Stdout)
}
