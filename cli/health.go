// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/spf13/cobra"
)

const (
	healthTimeout = 3 * time.Second
	healthEvery   = 100 * time.Millisecond // while waiting
	maxHealth     = 1 << 20                // bytes of an answer
)

func (a *app) healthCommand() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Check that the daemon is healthy, as a container's or a script's check",
		Long: "Check that the daemon is healthy, by its gateway's /health.\n\n" +
			"Exit code 0: healthy; 1: degraded; 3: not running; 4: running, but without an answer.",
		Example: "  blufio health\n  blufio serve & blufio health --wait 30s",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			h, err := a.awaitHealth(ctx, wait)
			if err != nil {
				return err
			}
			return a.printHealth(h)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait until it is healthy, such as 30s")
	return cmd
}

// awaitHealth asks until the daemon is healthy or wait is over, and at least once.
func (a *app) awaitHealth(ctx context.Context, wait time.Duration) (bus.Health, error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		h, err := a.askHealth(ctx)
		if err == nil && h.State == bus.Healthy || explain(err).code == exitDenied || !pause(waiting, healthEvery) {
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
	h, err := getHealth(ctx, d.Gateway)
	if err != nil {
		return h, d.unreachable(err)
	}
	return h, nil
}

func getHealth(ctx context.Context, gateway string) (h bus.Health, err error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, gateway+"/health", nil)
	if err != nil {
		return h, err
	}
	// The address comes from a file that only the daemon's user can write, and no
	// secret is sent. The certificate is made for the name that others use.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return h, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxHealth)).Decode(&h); err != nil {
		return h, fmt.Errorf("read answer (HTTP %d): %w", resp.StatusCode, err)
	}
	if h.State == "" || h.State == bus.Healthy && resp.StatusCode != http.StatusOK {
		return h, fmt.Errorf("HTTP %d without a state", resp.StatusCode)
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
