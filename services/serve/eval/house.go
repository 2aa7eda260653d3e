// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/serve"
	"github.com/nats-io/nats.go"
)

const (
	readyLimit = 30 * time.Second
	turnLimit  = 30 * time.Second
	channel    = "terminal"
	owner      = "owner"
	person     = channel + ":" + owner // as recall knows the owner
)

// clock is the daemon's; the conversation takes weeks.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// house is the whole daemon, in this process, on a directory of its own.
type house struct {
	conn  *bus.Conn
	clock *clock
	stop  func() error
}

// open starts a daemon that asks these models.
func open(ctx context.Context, models *fakellm.Vendors, change func(*serve.Config)) (h *house, err error) {
	dir, err := os.MkdirTemp("", "blufio-eval-")
	if err != nil {
		return nil, err
	}
	h = &house{clock: &clock{now: begin}}
	o := serve.Options{Config: serve.Defaults(), DataDir: dir, Version: "eval", Logger: slog.New(slog.DiscardHandler), Now: h.clock.read}
	o.Config.Gateway.Listen, o.Config.Bus.Listen = "127.0.0.1:0", "127.0.0.1:0"
	o.Config.Memory.LimitMB = 2000 // this process is the models' too
	o.Config.Cost.DailyUSD, o.Config.Cost.MonthlyUSD = 0, 0
	o.Config.Agent.Provider, o.Config.Anthropic.BaseURL = []string{"anthropic"}, models.Anthropic.URL()
	change(&o.Config)
	ctx, end := context.WithCancel(ctx)
	ready, ended := make(chan serve.Info, 1), make(chan error, 1)
	o.Ready = func(i serve.Info) { ready <- i }
	go func() { ended <- serve.Run(ctx, o) }()
	h.stop = func() error {
		end()
		return errors.Join(<-ended, os.RemoveAll(dir))
	}
	select {
	case info := <-ready:
		if err := h.connect(info, dir); err != nil {
			return nil, errors.Join(err, h.stop())
		}
		return h, nil
	case err := <-ended:
		end()
		return nil, errors.Join(fmt.Errorf("the daemon ended at its start: %w", err), os.RemoveAll(dir))
	case <-time.After(readyLimit):
		return nil, errors.Join(fmt.Errorf("the daemon is not ready after %s", readyLimit), h.stop())
	}
}

// connect joins the bus as an operator.
func (h *house) connect(info serve.Info, dir string) error {
	device, err := embedded.LoadDevice(dir)
	if err != nil {
		return err
	}
	nc, err := nats.Connect(info.Bus, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox))
	if err != nil {
		return err
	}
	h.conn = bus.NewConn(nc, bus.Options{Name: "cli", Logger: slog.New(slog.DiscardHandler),
		Says: []bus.Lane{bus.MessageReceive, bus.MessageGet, bus.StatusGet, bus.RecallSearch, bus.RecallGet}})
	end := h.stop
	h.stop = func() error {
		drain, cancel := context.WithTimeout(context.Background(), 5*time.Second) // what was begun is over
		defer cancel()
		return errors.Join(h.conn.Drain(drain), end())
	}
	return nil
}

// say sends a message and waits for its answer.
func (h *house) say(ctx context.Context, session, text string) error {
	ctx, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()
	accepted, err := bus.MessageReceive.Ask(ctx, h.conn, bus.Message{Channel: channel, Owner: owner, Session: session, Text: text})
	if err != nil {
		return fmt.Errorf("say %q: %w", text, err)
	}
	for {
		m, err := bus.MessageGet.Ask(ctx, h.conn, bus.MessageQuery{ID: accepted.ID})
		if err != nil {
			return fmt.Errorf("say %q: %w", text, err)
		}
		switch m.State {
		case bus.StateAnswered:
			return nil
		case bus.StateQueued, bus.StateRunning:
		default:
			return fmt.Errorf("say %q: it is %s: %s", text, m.State, m.Reply)
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("say %q: %w", text, err)
		}
	}
}

// settle waits until what was to be kept is, and has its vector.
func (h *house) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()
	for last := int64(-1); ; {
		st, err := bus.RecallGet.Ask(ctx, h.conn, bus.RecallStatusQuery{})
		if err != nil {
			return fmt.Errorf("read what is kept: %w", err)
		}
		now := st.Entries + st.History
		if st.Pending == 0 && now == last {
			return nil
		}
		last = now
		if err := pause(ctx, 300*time.Millisecond); err != nil {
			return fmt.Errorf("wait for %d vectors: %w", st.Pending, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
