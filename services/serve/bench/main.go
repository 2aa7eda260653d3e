// SPDX-License-Identifier: MIT OR Apache-2.0

// Command bench measures blufio as it is shipped: the real stripped binary, in a
// process of its own, over HTTP. It appends its rows to BENCHMARKS.md and keeps
// every raw sample as CSV in contrib/benchmarks. Run it with `make bench`.
//
// Machines are noisy, so what is compared is measured in the same run: idle
// memory against a bare program with the same parts, a turn against a one-row
// commit on the same disk, a bus call against plain nats.go. Telegram and the model
// are fakes in this process that speak the real wire, at zero latency unless a row
// says otherwise; what they take of the processor counts as blufio's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/services/serve/internal/box"
)

// run is one round of measurements in one box.
type run struct {
	ctx    context.Context
	tmp    string // scratch, on the disk that is measured
	binary string
	bare   string
	embeds string
	config string
	box    place
	idle   time.Duration
	turns  int
	only   string
	sizes  sizes
	models map[string]string // directories of sentence models that were made, by form
	report *report
}

func main() {
	idle := flag.Duration("idle", 30*time.Second, "wait before idle memory is read")
	only := flag.String("only", "", "take only this measurement, or this group of them: "+strings.Join((&run{}).names(), ", "))
	turns := flag.Int("turns", 10_000, "turns of the memory measurement")
	write := flag.Bool("write", true, "append to BENCHMARKS.md and keep the samples")
	flag.Parse()
	if err := bench(*idle, *turns, *only, *write); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(idle time.Duration, turns int, only string, write bool) (err error) {
	tmp, err := os.MkdirTemp(".", ".bench-") // here, not in /tmp: that may be memory
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if tmp, err = filepath.Abs(tmp); err != nil {
		return err
	}
	r := newRun(context.Background(), tmp)
	r.idle, r.turns, r.only = idle, turns, only
	if only != "" && !slices.Contains(r.names(), only) {
		return fmt.Errorf("there is no measurement %q, but %s", only, strings.Join(r.names(), ", "))
	}
	if err := r.build(); err != nil {
		return err
	}
	boxes := []place{{name: "whole machine"}, {name: "one CPU, 1 GB", pinned: true}}
	if boxes[1].group, err = box.NewGroup("bench", 1<<30); err != nil {
		fmt.Fprintln(os.Stderr, "bench: no memory control group can be made here:", err)
		boxes[1].name = "one CPU"
	} else {
		defer func() { err = errors.Join(err, boxes[1].group.Remove()) }()
	}
	for _, b := range boxes {
		r.box = b
		if err := r.all(); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	fmt.Print(r.report.table())
	if !write {
		return nil
	}
	return r.report.save(".")
}

// newRun is one with its files in tmp, and the sizes that the bars are for.
func newRun(ctx context.Context, tmp string) *run {
	in := func(name string) string { return filepath.Join(tmp, name) }
	return &run{ctx: ctx, tmp: tmp, binary: in("blufio"), bare: in("bare"), embeds: in("embeds"), config: in("bench.toml"),
		sizes: wholeSizes(), models: map[string]string{}, report: newReport()}
}

const freePorts = "[gateway]\nlisten = \"127.0.0.1:0\"\n[bus]\nlisten = \"127.0.0.1:0\"\n"

const module = "github.com/blufio/blufio"

// build makes the binaries as they are shipped.
func (r *run) build() error {
	for out, pkg := range map[string]string{r.binary: module, r.bare: module + "/services/serve/bench/bare", r.embeds: module + "/services/serve/bench/embeds"} {
		if err := buildAs(out, pkg, ""); err != nil {
			return err
		}
	}
	return os.WriteFile(r.config, []byte(freePorts), 0o600)
}

// buildAs makes a binary as it is shipped, but for build tags.
func buildAs(out, pkg, tags string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-tags", tags, "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return nil
}

// part is a measurement. The bars of some are for one processor: they are taken there only.
type part struct {
	name, group string
	onOne       bool
	take        func() error
}

// asked reports whether the part belongs to what is to be taken only; "" is everything.
func (p part) asked(only string) bool { return only == "" || only == p.name || only == p.group }

func (r *run) parts() []part {
	return []part{
		{"size", "", false, r.size}, {"start", "", false, r.startup}, {"idle", "", false, r.idleMemory}, {"turns", "", false, r.turnsAndMemory},
		{"telegram", "", false, r.telegramTurns}, {"sessions", "", false, r.manySessions}, {"tokens", "", false, r.tokens},
		{"bus", "", false, r.busCall}, {"status", "", false, r.statusCommand}, {"governor", "", true, r.governing},
		{"embedders", recallGroup, true, r.embedders}, {"recalling", recallGroup, true, r.recalling},
		{"shedding", recallGroup, true, r.shedding}, {"vectors", recallGroup, true, r.vectors},
	}
}

const recallGroup = "recall"

// names are those that can be asked for, of parts and of groups.
func (r *run) names() (out []string) {
	for _, p := range r.parts() {
		if p.group != "" && !slices.Contains(out, p.group) {
			out = append(out, p.group)
		}
		out = append(out, p.name)
	}
	return out
}

// all takes every measurement once.
func (r *run) all() error {
	for _, p := range r.parts() {
		if !p.asked(r.only) || p.onOne && !r.box.pinned {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s, %s …\n", r.box.name, p.name)
		if err := p.take(); err != nil {
			return fmt.Errorf("measure %s: %w", p.name, err)
		}
	}
	return nil
}

// dir returns a fresh data directory.
func (r *run) dir(name string) (string, error) {
	return os.MkdirTemp(r.tmp, name+"-")
}
