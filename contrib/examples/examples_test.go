// SPDX-License-Identifier: MIT OR Apache-2.0

// Package examples runs the examples as their README says, each with an observer key,
// against a real daemon. It needs node and npm, and the registry or npm's cache of it,
// and takes the stock `nats` tool from BLUFIO_NATS or the PATH. What is missing is
// skipped, but where CI is set it fails.
package examples

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/cli"
	"github.com/blufio/blufio/services/serve"
)

// listener is an example: how it is run, and with which flags.
type listener struct {
	command           []string
	contextFlag       string
	seq, since, count string // flags
	pattern           string // flag for which events; the stock tool has none
	replay            string // flag of the stock tool
}

// rig is a daemon, and the key of an observer.
type rig struct {
	t       *testing.T
	data    string
	context string // file
}

func TestListeners(t *testing.T) {
	r := start(t)
	r.say("one")
	r.say("two")
	want := r.kept()
	if len(want) < 5 {
		t.Fatalf("only %d events: %v", len(want), want)
	}
	listeners := map[string]func(*testing.T) listener{"go": buildGo, "js": installJS, "nats": stockTool}
	for name, prepare := range listeners {
		t.Run(name, func(t *testing.T) {
			l := prepare(t)
			all := strconv.Itoa(len(want))
			for by, args := range map[string][]string{
				"sequence": {l.seq, "1", l.count, all},
				"time":     {l.since, "1h", l.count, all},
			} {
				if got := r.run(t, l, args...); !slices.Equal(l.first(got, len(want)), want) {
					t.Errorf("by %s: %v, want %v", by, got, want)
				}
			}
			if got := r.run(t, l, l.seq, "3", l.count, "2"); !slices.Equal(l.first(got, 2), want[2:4]) {
				t.Errorf("from 3: %v, want %v", got, want[2:4])
			}
			r.live(t, l)
		})
	}
}

// start runs a daemon that ends with the test, and issues a key.
func start(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, data: filepath.Join(t.TempDir(), "data")}
	cfg := serve.Defaults()
	cfg.Gateway.Listen, cfg.Bus.Listen, cfg.Memory.LimitMB = "127.0.0.1:0", "127.0.0.1:0", 2000
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- serve.Run(ctx, serve.Options{Config: cfg, DataDir: r.data, Version: "test", Logger: bustest.Logger(t), Ready: func(serve.Info) { close(ready) }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("the daemon is not ready after 20 s")
	}
	dir := t.TempDir()
	r.blufio("keys", "issue", "--role", "observer", "--name", "listener", "--out", dir)
	r.context = filepath.Join(dir, "listener.json")
	return r
}

// blufio runs a command of the program and returns what it prints.
func (r *rig) blufio(args ...string) string {
	r.t.Helper()
	var out, errs bytes.Buffer
	code := cli.Main(args, strings.NewReader(""), &out, &errs, []string{"BLUFIO_DATA_DIR=" + r.data, "HOME=" + r.data})
	if code != 0 {
		r.t.Fatalf("blufio %v: exit code %d: %s%s", args, code, &out, &errs)
	}
	return out.String()
}

func (r *rig) say(text string) { r.blufio("send", text) }

// kept are the names of the events in the stream, once there are no more to come.
func (r *rig) kept() (names []string) {
	r.t.Helper()
	bustest.Eventually(r.t, "two messages are answered", func() bool {
		names = nil
		for line := range strings.Lines(r.blufio("events", "--no-follow", "--json")) {
			var e struct{ Event string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				r.t.Fatal(err)
			}
			names = append(names, e.Event)
		}
		delivered := slices.Index(names, "evt.reply.delivered")
		return delivered >= 0 && slices.Contains(names[delivered+1:], "evt.reply.delivered")
	}, func() any { return names })
	return names
}

// args are those of a run that hears events of a pattern, in the stream or live.
func (l listener) args(context string, replay bool, pattern string, args ...string) []string {
	all := append(slices.Clone(l.command), l.contextFlag, context)
	if l.pattern == "" { // the stock tool: a command, then the subject
		all = append(all, "sub", "blufio.v1.evt."+pattern)
		if replay {
			all = append(all, l.replay)
		}
		return append(all, args...)
	}
	return append(append(all, l.pattern, pattern), args...)
}

// first are the first n events; the stock tool may print more than it was asked for.
func (l listener) first(names []string, n int) []string {
	if l.pattern == "" {
		return names[:min(n, len(names))]
	}
	return names
}

// run runs an example that replays to its end, and returns the names of the events that
// it printed.
func (r *rig) run(t *testing.T, l listener, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := l.build(ctx, l.args(r.context, true, ">", args...))
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, &out, &errs)
	}
	return l.names(t, out.String())
}

func (l listener) build(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.WaitDelay = time.Second
	return cmd
}

// names reads what an example prints: the names of the events, whose payloads have to
// be there.
func (l listener) names(t *testing.T, out string) (names []string) {
	t.Helper()
	payloads := 0
	for text := range strings.Lines(out) {
		var e struct {
			Event   string
			Time    time.Time
			Payload struct{ Time time.Time }
		}
		if m := stockLine.FindStringSubmatch(text); m != nil {
			names = append(names, m[1])
		}
		if json.Unmarshal([]byte(text), &e) != nil {
			continue
		}
		if e.Event != "" {
			names = append(names, e.Event)
		}
		if !e.Time.IsZero() || !e.Payload.Time.IsZero() {
			payloads++
		}
	}
	if payloads != len(names) {
		t.Errorf("%d events with %d payloads: %s", len(names), payloads, out)
	}
	return names
}

// stockLine is what the stock tool prints before an event, in the stream or live.
var stockLine = regexp.MustCompile(`(?:subject: |Received on ")blufio\.v1\.(evt[a-z.]+)`)

// live starts an example and lets events happen until it has heard one.
func (r *rig) live(t *testing.T, l listener) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := l.build(ctx, l.args(r.context, false, "turn.completed", l.count, "1"))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	var reading sync.WaitGroup
	heard := make(chan struct{})
	reading.Go(func() {
		defer close(heard)
		_, _ = bufio.NewReader(out).WriteTo(&printed)
	})
	for waiting := true; waiting; {
		select {
		case <-heard:
			waiting = false
		case <-time.After(50 * time.Millisecond): // it may not listen yet
			r.say("hello")
		}
	}
	reading.Wait()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &errs)
	}
	if got := l.names(t, printed.String()); !slices.Equal(got, []string{"evt.turn.completed"}) {
		t.Errorf("live: %v", got)
	}
}

func buildGo(t *testing.T) listener {
	program := filepath.Join(t.TempDir(), "listener-go")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./listener-go").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return listener{command: []string{program}, contextFlag: "-context", pattern: "-events", seq: "-seq", since: "-since", count: "-count"}
}

func installJS(t *testing.T) listener {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("CI needs %s: %v", tool, err)
			}
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "listener.mjs"} {
		data, err := os.ReadFile(filepath.Join("listener-js", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return listener{command: []string{"node", filepath.Join(dir, "listener.mjs")}, contextFlag: "--context", pattern: "--events", seq: "--seq", since: "--since", count: "--count"}
}

func stockTool(t *testing.T) listener {
	program := os.Getenv("BLUFIO_NATS")
	if program == "" {
		found, err := exec.LookPath("nats")
		if err != nil && os.Getenv("CI") != "" {
			t.Fatalf("CI needs the nats tool: %v", err)
		}
		if err != nil {
			t.Skip("the nats tool is not installed; BLUFIO_NATS names it")
		}
		program = found
	}
	return listener{command: []string{program}, contextFlag: "--context", replay: "--stream=EVENTS", seq: "--start-sequence", since: "--since", count: "--count"}
}
