// SPDX-License-Identifier: MIT OR Apache-2.0

package hooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/services/internal/command"
	"github.com/prometheus/client_golang/prometheus"
)

// Deps is what hooks are told of the daemon.
type Deps struct {
	DataDir string
	Node    string
	Version string
	Logger  *slog.Logger
}

// Error says which hook failed, and how.
type Error struct {
	Hook   string // its moment
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("hook %s failed: %s", e.Hook, e.Reason) }

// Hint says what to do.
func (e *Error) Hint() string {
	return "mend the program, or take hooks." + key(e.Hook) + " out of the configuration; what it said is in the log"
}

// Runner runs hooks. Its methods may be called concurrently.
type Runner struct {
	deps Deps
	runs *prometheus.CounterVec

	mu     sync.Mutex
	cfg    Config
	failed map[string]*Error // the last run of these failed
}

// NewRunner returns the runner of a configuration.
func NewRunner(cfg Config, d Deps) *Runner {
	r := &Runner{cfg: cfg, deps: d, failed: map[string]*Error{}, runs: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "blufio_hook_runs_total", Help: "Hooks that were run, by how they ended."}, []string{"hook", "outcome"})}
	for _, m := range moments {
		for _, outcome := range []string{outcomeOK, outcomeFailed} {
			r.runs.WithLabelValues(m, outcome)
		}
	}
	return r
}

// Outcomes of a hook.
const (
	outcomeOK     = "ok"
	outcomeFailed = "failed"
)

// take goes on with another configuration. A hook that failed and is another one now, or
// none, is no problem any more.
func (r *Runner) take(cfg Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range moments {
		if !slices.Equal(r.cfg.argv(m), cfg.argv(m)) {
			delete(r.failed, m)
		}
	}
	r.cfg = cfg
}

// now is what is run for a moment, and how long it may take.
func (r *Runner) now(moment string) (argv []string, timeout time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cfg.argv(moment), r.cfg.timeout(moment)
}

// Has reports whether there is a hook for a moment.
func (r *Runner) Has(moment string) bool {
	argv, _ := r.now(moment)
	return len(argv) > 0
}

// Run runs the hook of a moment, if there is one, with variables such as
// "BLUFIO_ERROR=…" added. A hook that fails is logged here; the error, an [*Error], is
// for the callers that do not go on without it.
func (r *Runner) Run(ctx context.Context, moment string, env ...string) error {
	return r.run(ctx, moment, nil, env)
}

func (r *Runner) run(ctx context.Context, moment string, stdin []byte, env []string) error {
	argv, timeout := r.now(moment)
	if len(argv) == 0 {
		return nil
	}
	log := r.deps.Logger.With("service", Name, "hook", moment)
	out, err := command.Command{Argv: argv, Dir: r.deps.DataDir, Env: append(r.env(moment), env...), Stdin: stdin, Timeout: timeout}.Run(ctx)
	if text := strings.TrimSpace(out.Output); text != "" {
		log.Info("hook said something", "output", text, "cut", out.Cut)
	}
	var failed *Error
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled): // the daemon stops, or its start was called off; err may be a signal's name
		log.Warn("hook was cut off")
		return ctx.Err()
	case errors.Is(err, command.ErrTimeout):
		failed = &Error{moment, fmt.Sprintf("%s took longer than %s and was killed", argv[0], timeout)}
	case err != nil:
		failed = &Error{moment, err.Error()}
	case out.Code != 0:
		failed = &Error{moment, argv[0] + ": " + out.State}
	}
	r.note(moment, argv, failed)
	if failed == nil {
		return nil
	}
	log.Error("hook failed", "err", failed.Reason)
	return failed
}

func (r *Runner) env(moment string) []string {
	return []string{"BLUFIO_HOOK=" + moment, "BLUFIO_NODE=" + r.deps.Node, "BLUFIO_DATA_DIR=" + r.deps.DataDir,
		"BLUFIO_VERSION=" + r.deps.Version, "BLUFIO_PID=" + strconv.Itoa(os.Getpid())}
}

// note keeps how a hook ended, but nothing of one that was replaced while it ran.
func (r *Runner) note(moment string, argv []string, failed *Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	outcome := outcomeOK
	if failed != nil {
		outcome = outcomeFailed
	}
	r.runs.WithLabelValues(moment, outcome).Inc()
	if !slices.Equal(argv, r.cfg.argv(moment)) {
		return
	}
	delete(r.failed, moment)
	if failed != nil {
		r.failed[moment] = failed
	}
}

// troubles are the hooks whose last run failed, in the order of moments.
func (r *Runner) troubles() (all []*Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range moments {
		if e := r.failed[m]; e != nil {
			all = append(all, e)
		}
	}
	return all
}
