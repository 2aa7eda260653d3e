// SPDX-License-Identifier: MIT OR Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// turnProbes are the one that goes the whole way of a message.
func (s *Service) turnProbes() []services.Probe {
	return []services.Probe{{
		ID: "BLF-ROOM-003", Title: "A message goes all the way", Deep: true,
		Why: "inbox, turn, ledger and outbox may each be well, and yet not work together",
		Fix: "see the daemon's log, and `blufio queue list` for where it waits",
		Run: s.wholeTurn,
	}}
}

// turns are the checks under way that wait for a reply, by their session. Each has one of
// a few sessions for itself, so that checks leave no trail of sessions.
type turns struct {
	mu      sync.Mutex
	waiting map[string]chan bus.Reply
}

// mostTurns is one for each examination at a time.
const mostTurns = 2

// take gives a session that no other check has; "" when all are taken.
func (t *turns) take() (session string, replies chan bus.Reply) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == nil {
		t.waiting = map[string]chan bus.Reply{}
	}
	for i := range mostTurns {
		session = fmt.Sprintf("check-%d", i+1)
		if t.waiting[session] == nil {
			replies = make(chan bus.Reply, 4)
			t.waiting[session] = replies
			return session, replies
		}
	}
	return "", nil
}

func (t *turns) give(session string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.waiting, session)
}

// deliver answers msg.send.doctor. A reply that nobody waits for any more is taken too.
func (t *turns) deliver(_ context.Context, r bus.Reply) (bus.Receipt, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case t.waiting[r.Session] <- r:
	default:
	}
	return bus.Receipt{}, nil
}

// wholeTurn hands a message to the agent and waits until its reply is delivered. The
// agent answers it without a model.
func (s *Service) wholeTurn(ctx context.Context) services.Result {
	session, replies := s.turns.take()
	if session == "" {
		return services.Skip("others are at it")
	}
	defer s.turns.give(session)
	began := time.Now()
	acc, err := bus.MessageReceive.Ask(ctx, s.bus(), bus.Message{Channel: bus.DoctorChannel, Owner: bus.DoctorChannel, Session: session, Text: "this is a check"})
	switch {
	case errors.Is(err, &bus.Error{Code: bus.CodeBusy}):
		return services.Skip("the agent takes no more messages now: %v", err)
	case err != nil && space(s.d.DataDir).Level == bus.LevelFail:
		return services.Skip("see BLF-FILE-003: %v", err)
	case err != nil:
		return services.Fail("the message was not accepted: %v", err)
	}
	for {
		select {
		case r := <-replies:
			switch {
			case r.MessageID != acc.ID: // of a check that had given up
			case r.State == bus.StateAnswered:
				return services.OK("accepted, answered without a model, booked and delivered in %s", short(time.Since(began)))
			default:
				return services.Fail("the message was %s: %s", r.State, r.Text)
			}
		case <-ctx.Done():
			return services.Fail("the message was accepted and its reply was not delivered within %s", short(time.Since(began)))
		}
	}
}
