// SPDX-License-Identifier: MIT OR Apache-2.0

// Package terminal is the channel of people at this machine's own terminal.
//
// They speak by the command line, which hands messages to the agent itself. The
// room takes the replies over and tells whoever is listening; a reply that nobody
// waits for is kept with its message, where `blufio message ID` finds it.
package terminal

import (
	"context"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// Name is the channel's name.
const Name = "terminal"

// Service is the room.
type Service struct {
	now func() time.Time

	mu     sync.Mutex
	conn   *bus.Conn
	last   *time.Time
	err    *string
	failed *time.Time
}

var _ services.Service = (*Service)(nil)

// New returns the room.
func New(now func() time.Time) *Service { return &Service{now: now} }

// Door declares the room.
func (s *Service) Door() services.Door {
	return services.Door{
		Name:    Name,
		Hears:   []bus.Handler{bus.MessageSend.To(Name).Answer(s.send)},
		Says:    []bus.Lane{bus.TerminalReply},
		Channel: s.channel,
	}
}

// Run has nothing of its own to do.
func (s *Service) Run(ctx context.Context, c *bus.Conn, ready func()) error {
	s.mu.Lock()
	s.conn = c
	s.mu.Unlock()
	ready()
	<-ctx.Done()
	return nil
}

// send passes a reply on to the terminals that listen.
func (s *Service) send(_ context.Context, r bus.Reply) (bus.Receipt, error) {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	err := bus.TerminalReply.Publish(conn, r)
	s.note(err)
	return bus.Receipt{}, err
}

func (s *Service) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if err != nil {
		text := err.Error()
		s.err, s.failed = &text, &now
		return
	}
	s.last = &now
}

func (s *Service) channel() bus.Channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := bus.Channel{State: bus.Healthy, LastSuccess: s.last, LastError: s.err, LastErrorAt: s.failed}
	if s.failed != nil && (s.last == nil || s.failed.After(*s.last)) {
		c.State = bus.Degraded
	}
	return c
}
