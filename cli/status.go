// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

const (
	statusTimeout = 2 * time.Second
	watchEvery    = time.Second
)

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the agent is: sessions, memory, cost, channels, services",
		Long: "Show how the agent is: sessions, memory, cost, channels, services.\n\n" +
			"Exit code 0: healthy; 1: degraded; 3: not running (then the last known picture\n" +
			"is shown); 4: running, but without an answer; 5: permission denied.",
		Example: "  blufio status\n  blufio status --watch\n  blufio status --json | jq .cost.today_microusd\n" +
			"  blufio --node kitchen status",
		Args:        noArgs,
		Annotations: map[string]string{throughHub: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.watchStatus(cmd.Context())
			}
			p, err := a.picture(cmd.Context())
			if err != nil {
				return err
			}
			return a.showPicture(p)
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "show it anew every second, until q or Ctrl-C")
	return cmd
}

// picture is a status, of a daemon that runs or of one that did.
type picture struct {
	bus.Status
	last   *time.Time // of a stopped daemon: when it was last seen; nil: never
	reason *failure   // of a stopped daemon: how we know
	idle   []string   // of a stopped daemon: channels that nobody had set up
}

// picture asks the daemon, or failing that the database it left. One on the hub
// leaves nothing here.
func (a *app) picture(ctx context.Context) (picture, error) {
	if a.node != "" {
		ctx, cancel := context.WithTimeout(ctx, nodesTimeout)
		defer cancel()
		st, err := askNode(ctx, a, bus.StatusGet, bus.StatusQuery{})
		return picture{Status: st}, err
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	st, err := ask(ctx, a, bus.StatusGet, bus.StatusQuery{})
	if err == nil {
		return picture{Status: st}, nil
	}
	f := explain(err)
	if f.code == exitNotRunning {
		return a.lastPicture(ctx, f)
	}
	if bus.Retryable(err) {
		f.code = exitNoAnswer // whatever stands in the way, nothing is known
	}
	return picture{}, f
}

// lastPicture is that of a daemon which does not run: nothing but its past.
func (a *app) lastPicture(ctx context.Context, reason *failure) (picture, error) {
	p := picture{reason: reason, Status: bus.Status{Schema: bus.StatusSchema,
		Channels: []bus.Channel{}, Services: []bus.ServiceStatus{}}}
	dir, err := a.data()
	if err != nil {
		return p, err
	}
	st, err := serve.LastStatus(ctx, dir, slog.New(slog.DiscardHandler))
	switch {
	case err != nil && explain(err).code == exitDenied:
		if a.runtimeDir(dir) == "" {
			return p, err
		}
	case err != nil:
		reason.hint = "its last status cannot be read either: " + err.Error()
	case st != nil:
		p.Status, p.last = *st, &st.Time
	}
	p.stop()
	return p, nil
}

// stop makes the picture one of the past: what ran then does not run now.
func (p *picture) stop() {
	p.State, p.PID, p.UptimeSeconds = bus.Stopped, 0, 0
	for i := range p.Channels {
		if idle(p.Channels[i], p.Services) {
			p.idle = append(p.idle, p.Channels[i].Name)
		}
		p.Channels[i].State = bus.Stopped
	}
	for i := range p.Services {
		p.Services[i].State = bus.Stopped
	}
}

// facts is the picture for scripts. That of a daemon which never was has no time.
func (p picture) facts() any {
	if !p.Time.IsZero() {
		return p.Status
	}
	return struct {
		bus.Status
		Time *time.Time `json:"time"`
	}{Status: p.Status}
}

// exitCode is what a script learns of the picture.
func (p picture) exitCode() int {
	switch p.State {
	case bus.Healthy:
		return exitOK
	case bus.Stopped:
		return exitNotRunning
	}
	return exitFailed
}

func (a *app) showPicture(p picture) error {
	if a.json {
		return errors.Join(a.printJSON(p.facts()), exit(p.exitCode()))
	}
	if p.State == bus.Stopped && p.last == nil {
		return p.reason // there is nothing to show
	}
	text := dashboard(a.ui(a.out), p, a.now())
	return errors.Join(a.print(text), exit(p.exitCode()))
}
