// SPDX-License-Identifier: MIT OR Apache-2.0

// Package hub is the room that joins many daemons to one NATS system.
//
// The bus server is a leaf node of the hub with one account, LEAF, that neither
// imports from the house nor exports to it. This room is the only one in it, and
// everything that crosses does so in its code:
//
//   - Inward come the calls of [bus.HubCalls], and nothing else. The room decodes
//     the question, asks it in the house as itself, and answers. An answer goes to
//     an inbox only, so that nobody on the hub can have it heard as an event.
//   - Outward go the durable events (carry.go), read from the event stream with
//     ctl.events.read and published below blufio.node.NAME.v1.evt, in order. The
//     cursor moves when a stream on the hub has acknowledged, so what is recorded
//     while the hub is away reaches it afterwards. Live events do not go out.
//   - ctl.node.ask and ctl.node.list put calls to other daemons (ask.go).
//
// A daemon says on the hub that its name is its own (name.go). While another one
// says so too, neither sends events nor answers: they would be taken for one.
//
// # What the hub's stream gets
//
// Each event with its position and epoch in the headers, and as Nats-Msg-Id the
// name, epoch and position. Up to 64 are on their way. After every connection the
// room asks, before the first event of each lane, which one the stream stored
// last, so that an acknowledgement lost with the old connection leads to no
// duplicate however long ago that was. This needs a JetStream domain at the hub
// and the permission; without either the stream's own duplicate window holds.
// Nothing new is sent while an answer is half a second late: by then the
// connection may be another one, on which later events would overtake those lost.
// What the daemon's own stream no longer holds is published as evt.stream.gap.
//
// Without a hub the room is idle.
package hub

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/nats-io/nats.go"
)

// Server is the bus server; *embedded.Server is one.
type Server interface {
	Leaf() *embedded.Leaf // nil: there is no hub
	ConnectLeaf(opts ...nats.Option) (*nats.Conn, error)
	HubConnected() bool
	HubTrouble() string // why not, "" when that is not known
}

// Deps is what the room works with.
type Deps struct {
	Server Server
	Store  *sqlite.Store
	Logger *slog.Logger
	Now    func() time.Time
}

// bounds are what tests make smaller.
type bounds struct {
	ackWait    time.Duration // after which an event is taken for lost
	stall      time.Duration // without an answer, nothing new is sent; below the server's pause before it joins again
	retryFirst time.Duration // pause after trouble; doubles
	retryMost  time.Duration
	poll       time.Duration // to look for new events that nothing woke for
	watch      time.Duration // to look whether the hub is joined
	parting    time.Duration // for what is recorded while the house stops
	grace      time.Duration // away for longer is told
	claimEvery time.Duration
	claimWait  time.Duration // for another daemon to object to the name
	helloWait  time.Duration // for one daemon to say that it is there
	askWait    time.Duration // for one daemon to answer
	rollQuiet  time.Duration // without a further answer, the roll call ends
	rollWait   time.Duration // and it ends then
	rollMost   int
}

var defaults = bounds{
	ackWait: 5 * time.Second, stall: 500 * time.Millisecond, retryFirst: 500 * time.Millisecond, retryMost: 30 * time.Second,
	poll: time.Second, watch: 250 * time.Millisecond, parting: time.Second, grace: 10 * time.Second,
	claimEvery: 10 * time.Second, claimWait: 300 * time.Millisecond,
	helloWait: 1200 * time.Millisecond, askWait: 3 * time.Second,
	rollQuiet: 700 * time.Millisecond, rollWait: 2 * time.Second, rollMost: 4096,
}

// Service is the room.
type Service struct {
	d      Deps
	bounds bounds
	meters meters
	name   name

	house atomic.Pointer[bus.Conn]
	leaf  atomic.Pointer[nats.Conn] // nil without a hub

	newest atomic.Int64 // position heard or read
	cursor atomic.Int64 // position up to which the hub has everything
	flying atomic.Int64 // events on their way

	places chan struct{} // taken by what the hub asked, while it is answered or waits

	mu      sync.Mutex
	trouble error     // why events are not carried
	seen    time.Time // when the hub was last joined
}

var _ services.Service = (*Service)(nil)

// New returns the room.
func New(d Deps) *Service {
	s := &Service{d: d, bounds: defaults, places: make(chan struct{}, doorWorkers+doorQueue)}
	s.meters.init(s)
	return s
}

// Door declares the room. It asks in the house what is asked of the daemon from
// the hub.
func (s *Service) Door() services.Door {
	says := []bus.Lane{bus.EventsRead}
	for _, c := range bus.HubCalls() {
		says = append(says, c)
	}
	return services.Door{
		Name: "hub",
		Hears: []bus.Handler{
			bus.NodeAsk.Answer(s.ask).Workers(8).Queue(64),
			bus.NodeList.Answer(s.list).Workers(2).Queue(16),
		},
		Says:    says,
		Metrics: s.meters.all(),
		Health:  s.health,
		Probes:  Probes(s),
	}
}

// Run joins in until ctx ends. The room is ready before the hub is reached.
func (s *Service) Run(ctx context.Context, c *bus.Conn, ready func()) error {
	s.house.Store(c)
	me := s.d.Server.Leaf()
	if me == nil {
		ready()
		<-ctx.Done()
		return nil
	}
	nc, err := s.d.Server.ConnectLeaf()
	if err != nil {
		return err
	}
	defer nc.Close()
	s.saw(s.d.Now())
	s.name.init(me)
	door := newDoor(ctx, s, me)
	defer door.close()
	if err := door.open(nc); err != nil {
		return fmt.Errorf("listen to the hub: %w", err)
	}
	s.leaf.Store(nc)
	ready()
	return s.live(ctx, c, nc)
}

// live runs what goes on by itself: the claim to the name, and the events.
func (s *Service) live(ctx context.Context, c *bus.Conn, nc *nats.Conn) error {
	within, end := context.WithCancel(ctx)
	defer end()
	var work sync.WaitGroup
	work.Go(func() { s.claim(within, nc) })
	defer work.Wait()
	defer end()
	return newCarrier(s, c, nc).run(ctx)
}

func (s *Service) saw(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = now
}

func (s *Service) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err
}

// behind counts the events that the hub does not have yet.
func (s *Service) behind() int64 { return max(0, s.newest.Load()-s.cursor.Load()) }
