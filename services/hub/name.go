// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/nats-io/nats.go"
)

const (
	maxGreeting   = 1024 // bytes
	maxObjections = 64   // that wait to be read
)

// name is the daemon's claim to its name. Whoever hears a claim to its own name
// from another run answers with its own, so both know.
type name struct {
	node, id string

	mu      sync.Mutex
	other   time.Time // when another daemon last said that it has this name
	hold    time.Duration
	claimed bool // said since the hub was joined, and nobody objected in time
}

func (n *name) init(me *embedded.Leaf) { n.node, n.id = me.Node(), me.ID() }

// conflict reports whether another daemon has this name, as far as was heard.
func (n *name) conflict(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.other.IsZero() && now.Sub(n.other) < n.hold
}

// ours reports whether events may go out under this name.
func (n *name) ours(now time.Time) bool {
	n.mu.Lock()
	claimed := n.claimed
	n.mu.Unlock()
	return claimed && !n.conflict(now)
}

func (n *name) set(claimed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.claimed = claimed
}

func (n *name) greeting() []byte {
	data, err := json.Marshal(bus.NodeGreeting{Node: n.node, ID: n.id})
	if err != nil {
		return nil // two plain fields cannot fail to marshal
	}
	return data
}

// heard is called with each claim to this name, also with our own.
func (n *name) heard(m *nats.Msg) {
	if n.foreign(m.Data, time.Now()) && bus.AnswerSubject(m.Reply) {
		_ = m.Respond(n.greeting()) // the claim is made again
	}
}

// foreign notes a claim of another daemon.
func (n *name) foreign(data []byte, now time.Time) bool {
	g, ok := readGreeting(data)
	if !ok || g.Node != n.node || g.ID == n.id {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.other = now
	return true
}

// readGreeting reads what another daemon says of itself.
func readGreeting(data []byte) (g bus.NodeGreeting, ok bool) {
	if len(data) > maxGreeting || json.Unmarshal(data, &g) != nil {
		return g, false
	}
	return g, bus.ValidToken(g.Node) && g.ID != "" && len(g.ID) <= 64
}

// claim says that the name is ours: when the hub is joined, and then again and
// again, for the other one may have come while either was away.
func (s *Service) claim(ctx context.Context, nc *nats.Conn) {
	s.name.mu.Lock()
	s.name.hold = s.bounds.claimEvery * 5 / 2
	s.name.mu.Unlock()
	tick := time.NewTicker(s.bounds.watch)
	defer tick.Stop()
	var due time.Time
	for {
		switch now := time.Now(); {
		case !s.d.Server.HubConnected():
			s.name.set(false)
			due = time.Time{}
		case !now.Before(due):
			s.saw(s.d.Now())
			s.say(ctx, nc)
			due = now.Add(s.bounds.claimEvery)
		default:
			s.saw(s.d.Now())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// say makes the claim and waits for an objection.
func (s *Service) say(ctx context.Context, nc *nats.Conn) {
	ctx, cancel := context.WithTimeout(ctx, s.bounds.claimWait)
	defer cancel()
	sub, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return // the connection has ended, and with it the room
	}
	defer sub.Unsubscribe() //nolint:errcheck // it fails only with the connection
	if err := sub.SetPendingLimits(maxObjections, maxObjections*maxQuestion); err != nil {
		return
	}
	if err := nc.PublishRequest(bus.NodeClaim(s.name.node), sub.Subject, s.name.greeting()); err != nil {
		return
	}
	objected := false
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrSlowConsumer) {
			continue // those that were not dropped say the same
		}
		if err != nil {
			break
		}
		objected = s.name.foreign(m.Data, time.Now()) || objected
	}
	if objected {
		s.d.Logger.Warn("another daemon on the hub has this name", "service", "hub", "node", s.name.node)
	}
	s.name.set(s.d.Server.HubConnected())
}
