// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"sync"

	"github.com/blufio/blufio/services/hooks"
)

// runner is what runs the owner's programs. [Run] makes one for the daemon's whole life.
func (o Options) runner() *hooks.Runner {
	if o.hooks != nil {
		return o.hooks
	}
	return hooks.NewRunner(o.Config.Hooks, hooks.Deps{DataDir: o.DataDir, Node: node(o.Config.Daemon.Node), Version: o.Version, Logger: o.Logger})
}

// preStart runs the hook that may refuse the start, and has systemd wait for it.
func (o Options) preStart(ctx context.Context) error {
	if !o.hooks.Has(hooks.PreStart) {
		return nil
	}
	return o.supervisor.opening("running the hook pre-start", func() error { return o.hooks.Run(ctx, hooks.PreStart) })
}

// started runs the hook for a daemon that is up, beside it. The caller calls wait when
// ctx has ended.
func (o Options) started(ctx context.Context, gateway string) (wait func()) {
	var running sync.WaitGroup
	running.Go(func() {
		_ = o.hooks.Run(ctx, hooks.PostStart, "BLUFIO_GATEWAY="+gateway) // its failure is the room's problem
	})
	return running.Wait
}

// untilHook is a context for the rooms, which ends when ctx has ended and the hook for
// that has run. The caller calls done when the rooms have ended.
func (o Options) untilHook(ctx context.Context) (rooms context.Context, done func()) {
	if !o.hooks.Has(hooks.PreStop) {
		return context.WithCancel(ctx)
	}
	rooms, end := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() {
		select {
		case <-ctx.Done():
			_ = o.hooks.Run(rooms, hooks.PreStop) // a stop cannot be refused
			end()
		case <-rooms.Done():
		}
	})
	return rooms, func() { end(); running.Wait() }
}

// ended runs the hook for a daemon that has closed everything, for the reason err.
func (o Options) ended(ctx context.Context, err error) {
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	_ = o.hooks.Run(context.WithoutCancel(ctx), hooks.PostStop, "BLUFIO_ERROR="+reason) // nobody is left to be told but the log
}
