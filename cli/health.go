// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

const (
	healthTimeout = 3 * time.Second
	healthEvery   = 100 * time.Millisecond // while waiting
)

func (a *app) healthCommand() *cobra.Command {
	var wait time.Duration
	var pid int
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Check that the daemon is healthy, as a container's or a script's check",
		Long: "Check that the daemon is healthy, by its gateway's /health.\n\n" +
			"It is degraded while a part of it does not run or does not answer, or the database\n" +
			"takes no writes: what a restart may mend. What a part says of itself, such as a\n" +
			"channel that is not reached or memory that is short, is in `blufio status`.\n\n" +
			"Exit code 0: healthy; 1: degraded; 3: not running; 4: running, but without an answer.",
		Example: "  blufio health\n  blufio serve & blufio health --wait 30s",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait < 0 {
				return misuse(cmd, "--wait must not be negative")
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			h, err := a.awaitHealth(ctx, wait, pid)
			if err != nil {
				return err
			}
			return a.printHealth(h)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait until it is healthy: a `DURATION` such as 30s")
	cmd.Flags().IntVar(&pid, "pid", 0, "do not wait any longer than the process `PID` lives")
	return cmd
}

// awaitHealth asks until the daemon is healthy, wait is over or the process pid, if it is
// not 0, is gone; and at least once.
func (a *app) awaitHealth(ctx context.Context, wait time.Duration, pid int) (bus.Health, error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		h, err := a.askHealth(ctx)
		if err == nil && h.State == bus.Healthy || explain(err).code == exitDenied {
			return h, err
		}
		if pid != 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return h, fail(exitNotRunning, "its log says why", "the process %d has ended", pid)
		}
		if !pause(waiting, healthEvery) {
			return h, err
		}
	}
}

// askHealth asks the gateway that the daemon says it has. Whatever goes wrong with a
// daemon that does not exist any more is "not running".
func (a *app) askHealth(ctx context.Context) (bus.Health, error) {
	d, err := a.findDaemon()
	if err != nil {
		return bus.Health{}, err
	}
	if d.Gateway == "" {
		return bus.Health{}, fail(exitNoAnswer, "`blufio status` asks by the bus", "the daemon has no gateway to ask")
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	h, err := serve.GetHealth(ctx, d.Gateway)
	if err != nil {
		return h, d.unreachable(err)
	}
	return h, nil
}

func (a *app) printHealth(h bus.Health) error {
	code := exitOK
	if h.State != bus.Healthy {
		code = exitFailed
	}
	if a.json {
		return errors.Join(a.printJSON(h), exit(code))
	}
	return errors.Join(a.print(healthText(a.ui(a.out), h)), exit(code))
}

func healthText(u ui, h bus.Health) string {
	var b strings.Builder
	mark := u.ok()
	if h.State != bus.Healthy {
		mark = u.bad()
	}
	fmt.Fprintf(&b, "%s %s\n", mark, line(h.State))
	for _, c := range h.Checks {
		if !c.OK {
			fmt.Fprintf(&b, "%s %s: %s\n", u.bad(), line(c.Name), line(c.Detail))
		}
	}
	return b.String()
}
