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

// Bounds of what the hub may ask of this daemon.
const (
	doorWorkers = 4
	doorQueue   = 64
	maxQuestion = 64 << 10 // bytes
	callTimeout = 4 * time.Second
)

// What becomes of a call from the hub.
const (
	outcomeAnswered = "answered"
	outcomeFailed   = "failed"
	outcomeRefused  = "refused"
)

// door answers what comes from the hub, a few at a time.
type door struct {
	s    *Service
	me   *embedded.Leaf
	work chan struct{}   // taken by what is answered
	ctx  context.Context // of every answer

	mu     sync.Mutex
	closed bool
	busy   sync.WaitGroup
}

func newDoor(ctx context.Context, s *Service, me *embedded.Leaf) *door {
	return &door{s: s, me: me, ctx: ctx, work: make(chan struct{}, doorWorkers)}
}

// open listens. The subjects are all that the hub can reach.
func (d *door) open(nc *nats.Conn) error {
	node := d.me.Node()
	answers := map[string]func(context.Context, []byte) ([]byte, error){
		bus.NodeHello(node): d.hello,
	}
	for _, call := range bus.HubCalls() {
		answers[bus.NodeSubject(node, call.Spec().Name)] = func(ctx context.Context, data []byte) ([]byte, error) {
			if d.s.name.conflict(d.s.d.Now()) {
				return nil, bus.Errorf(bus.CodeConflict, "two daemons on the hub are called %s", node).
					WithHint("give one of them another name with daemon.node")
			}
			return call.AskJSON(ctx, d.s.house.Load(), data)
		}
	}
	for subject, answer := range answers {
		if _, err := bus.Listen(nc, subject, func(m *nats.Msg) { d.knock(m, answer) }); err != nil {
			return err
		}
	}
	if _, err := bus.Listen(nc, bus.NodesHello, d.called); err != nil {
		return err
	}
	if _, err := bus.Listen(nc, bus.NodeClaim(node), d.s.name.heard); err != nil {
		return err
	}
	return nc.FlushTimeout(5 * time.Second)
}

// called says that this daemon is there, on the subject of its own name: whoever listens
// knows by that who said it. An inbox gets the same, which is how a stock tool asks, and
// proves nothing.
func (d *door) called(m *nats.Msg) {
	here := *m
	here.Reply = bus.NodeHere(d.me.Node())
	if m.Reply != "" && !bus.AnswerSubject(m.Reply) {
		d.s.meters.calls.WithLabelValues(outcomeRefused).Inc()
		return
	}
	d.take(&here, func(ctx context.Context, _ []byte) ([]byte, error) {
		row, err := d.row(ctx)
		if err == nil && m.Reply != "" {
			d.respond(m, row, nil)
		}
		return row, err
	})
}

// knock hands a question to a worker. One that wants its answer elsewhere than in
// an inbox gets none.
func (d *door) knock(m *nats.Msg, answer func(context.Context, []byte) ([]byte, error)) {
	if !bus.AnswerSubject(m.Reply) {
		d.s.meters.calls.WithLabelValues(outcomeRefused).Inc()
		return
	}
	d.take(m, answer)
}

// take answers in a worker, to where the question's Reply says.
func (d *door) take(m *nats.Msg, answer func(context.Context, []byte) ([]byte, error)) {
	if len(m.Data) > maxQuestion {
		d.respond(m, nil, bus.Errorf(bus.CodeTooLarge, "the question is larger than %d bytes", maxQuestion))
		return
	}
	select {
	case d.s.places <- struct{}{}:
	default:
		d.respond(m, nil, &bus.Error{Code: bus.CodeBusy, Message: "too many questions from the hub are waiting", RetryAfter: time.Second})
		return
	}
	d.begin(func() {
		defer func() { <-d.s.places }()
		d.work <- struct{}{}
		defer func() { <-d.work }()
		ctx, cancel := context.WithTimeout(d.ctx, callTimeout)
		defer cancel()
		data, err := answer(ctx, m.Data)
		d.respond(m, data, err)
	})
}

func (d *door) respond(m *nats.Msg, data []byte, err error) {
	var e *bus.Error
	outcome := outcomeAnswered
	if err != nil {
		outcome = outcomeFailed
		if !errors.As(err, &e) {
			e = bus.Errorf(bus.CodeTimeout, "%s did not answer in time", d.me.Node())
		}
	}
	d.s.meters.calls.WithLabelValues(outcome).Inc()
	if err := m.RespondMsg(bus.ReplyMsg(m.Reply, data, e)); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		d.s.d.Logger.Warn("answer to the hub not sent", "service", "hub", "subject", m.Subject, "err", err)
	}
}

// hello says that this daemon is there, without asking the house.
func (d *door) hello(context.Context, []byte) ([]byte, error) {
	return json.Marshal(bus.NodeGreeting{Node: d.me.Node(), ID: d.me.ID()})
}

// row is this daemon in one line.
func (d *door) row(ctx context.Context) ([]byte, error) {
	r := bus.NodeRow{Node: d.me.Node(), ID: d.me.ID(), State: bus.Degraded, Time: d.s.d.Now().UTC()}
	if st, err := bus.StatusGet.Ask(ctx, d.s.house.Load(), bus.StatusQuery{}); err == nil {
		r.State, r.Version, r.UptimeSeconds = st.State, st.Version, st.UptimeSeconds
		if st.Memory != nil {
			r.RSS, r.Limit = &st.Memory.RSS, &st.Memory.Limit
		}
		if st.Cost != nil {
			r.Today = &st.Cost.Today
		}
	}
	return json.Marshal(r)
}

// begin runs fn beside, unless the door is closed.
func (d *door) begin(fn func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.busy.Go(fn)
	}
}

// close waits for what is being answered; Run's context has ended, and with it
// what takes long.
func (d *door) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.busy.Wait()
}
