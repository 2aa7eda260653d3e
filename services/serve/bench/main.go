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
	"time"

	"github.com/blufio/blufio/services/serve/internal/box"
)

// run is one round of measurements in one box.
type run struct {
	ctx    context.Context
	tmp    string // scratch, on the disk that is measured
	binary string
	bare   string
	config string
	box    place
	idle   time.Duration
	turns  int
	only   string
	report *report
}

func main() {
	idle := flag.Duration("idle", 30*time.Second, "wait before idle memory is read")
	only := flag.String("only", "", "take only this measurement: size, start, idle, turns, telegram, sessions, tokens, bus, status or vectors")
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
	r := &run{ctx: context.Background(), tmp: tmp, binary: filepath.Join(tmp, "blufio"), bare: filepath.Join(tmp, "bare"),
		config: filepath.Join(tmp, "bench.toml"), idle: idle, turns: turns, only: only, report: newReport()}
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

const freePorts = "[gateway]\nlisten = \"127.0.0.1:0\"\n[bus]\nlisten = \"127.0.0.1:0\"\n"

// build makes the binaries as they are shipped.
func (r *run) build() error {
	for out, pkg := range map[string]string{r.binary: ".", r.bare: "./services/serve/bench/bare"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
		}
	}
	return os.WriteFile(r.config, []byte(freePorts), 0o600)
}

// all takes every measurement once.
func (r *run) all() error {
	for _, m := range []struct {
		name string
		take func() error
	}{
		{"size", r.size}, {"start", r.startup}, {"idle", r.idleMemory}, {"turns", r.turnsAndMemory},
		{"telegram", r.telegramTurns}, {"sessions", r.manySessions}, {"tokens", r.tokens},
		{"bus", r.busCall}, {"status", r.statusCommand}, {"vectors", r.vectors},
	} {
		if r.only != "" && r.only != m.name {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s, %s …\n", r.box.name, m.name)
		if err := m.take(); err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
	}
	return nil
}

// dir returns a fresh data directory.
func (r *run) dir(name string) (string, error) {
	return os.MkdirTemp(r.tmp, name+"-")
}
