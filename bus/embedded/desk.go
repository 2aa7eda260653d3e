// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Bounds of the desk.
const (
	keyWork     = 16              // questions of and to one key that are under way
	keyReplays  = 16              // consumers of one key, so that others find room in maxConsumers
	deskQueue   = 1024            // questions that arrived and were not looked at; more are dropped
	deskBytes   = 4 << 20         // the same in bytes
	deskTimeout = 5 * time.Second // for an answer, when the asker says nothing
	deskLongest = 10 * time.Minute
	maxIdle     = 5 * time.Minute // after which a consumer that nobody asks goes
)

// desk passes on what crosses between keys and the house and has to be looked at: an
// account can say who may ask, but not what. It hears keys in the account EDGE, under a
// subject that names the key, and asks the rooms in HOUSE and the stream in WATCH. The
// other way it hears calls of the rooms for channels and tools, and asks the holder of
// the key in the key's account.
type desk struct {
	house, watch, edge *nats.Conn
	denied             func(k Key, subject string)
	ctx                context.Context // ends with the desk
	stop               context.CancelFunc
	done               sync.WaitGroup

	mu     sync.RWMutex
	closed bool             // nothing more is begun
	posted map[string]*post // by the key's inbox word
}

// post is a key that the desk serves.
type post struct {
	key  Key
	subs []*nats.Subscription // in HOUSE: what its holder answers
	work chan struct{}

	mu        sync.Mutex
	consumers map[string]bool // that were made and may be there still
	making    int             // that are being made
}

func newDesk(s *Server) (*desk, error) {
	d := &desk{denied: s.noteDenial, posted: map[string]*post{}}
	d.ctx, d.stop = context.WithCancel(context.Background()) // as long as the server: close ends it
	always := nats.MaxReconnects(-1)                         // close ends it
	var err error
	if d.house, err = s.ConnectHouse("desk", always); err == nil {
		if d.watch, err = s.ConnectWatch("desk", always); err == nil {
			d.edge, err = s.connect(s.edge, "_INBOX.edge.", "desk", []nats.Option{always})
		}
	}
	if err == nil {
		_, err = listenAt(d.edge, deskSubjects, d.heard)
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("open desk: %w", err)
	}
	return d, nil
}

func (d *desk) close() {
	d.stop()
	d.mu.Lock()
	d.closed = true // a message may be on its way through a connection that is closed
	d.mu.Unlock()
	for _, nc := range []*nats.Conn{d.house, d.watch, d.edge} {
		if nc != nil {
			nc.Close()
		}
	}
	d.done.Wait()
}

// listenAt subscribes within the desk's bounds, and returns when the server knows.
func listenAt(nc *nats.Conn, subject string, fn nats.MsgHandler) (*nats.Subscription, error) {
	sub, err := nc.Subscribe(subject, fn)
	if err == nil {
		err = sub.SetPendingLimits(deskQueue, deskBytes)
	}
	if err == nil {
		err = nc.FlushTimeout(deskTimeout)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", subject, err)
	}
	return sub, nil
}

// post begins to serve a key that is in the slot.
func (d *desk) post(k Key, s *slot) error {
	p := &post{key: k, work: make(chan struct{}, keyWork), consumers: map[string]bool{}}
	for _, subject := range k.serves() {
		to := s.subject(subject)
		sub, err := listenAt(d.house, subject, func(m *nats.Msg) {
			d.passOn(d.house, p, m, func(ctx context.Context) (*nats.Msg, error) { return d.ask(ctx, d.edge, to, m) })
		})
		if err != nil {
			return err
		}
		p.subs = append(p.subs, sub)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.posted[k.Inbox] = p
	return nil
}

// withdraw ends that.
func (d *desk) withdraw(k Key) {
	d.mu.Lock()
	p := d.posted[k.Inbox]
	delete(d.posted, k.Inbox)
	d.mu.Unlock()
	if p == nil {
		return
	}
	for _, sub := range p.subs {
		_ = sub.Unsubscribe() // it fails only with the connection
	}
}

// busiest is how many calls are under way with the key that has most.
func (d *desk) busiest() (n int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, p := range d.posted {
		n = max(n, len(p.work))
	}
	return n
}

// heard takes a question of a key.
func (d *desk) heard(m *nats.Msg) {
	token, asked, ok := deskQuestion(m.Subject)
	d.mu.RLock()
	p := d.posted[token]
	d.mu.RUnlock()
	if !ok || p == nil || m.Reply == "" {
		return // the key has just gone, or nobody waits
	}
	d.passOn(d.edge, p, m, func(ctx context.Context) (*nats.Msg, error) { return d.answer(ctx, p, asked, m) })
}

// passOn works out the answer to a message that came over nc and sends it there.
func (d *desk) passOn(nc *nats.Conn, p *post, m *nats.Msg, answer func(context.Context) (*nats.Msg, error)) {
	if !bus.IsInbox(m.Reply) {
		d.denied(p.key, m.Reply)
		return // it would be heard as something else
	}
	select {
	case p.work <- struct{}{}:
	default:
		_ = nc.PublishMsg(refusal(m.Reply, bus.Errorf(bus.CodeBusy, "%d calls with the key %s are under way", keyWork, p.key.Name)))
		return
	}
	d.begin(func() {
		defer func() { <-p.work }()
		ctx, cancel := context.WithTimeout(d.ctx, patienceOf(m))
		defer cancel()
		reply, err := answer(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			reply = &nats.Msg{Header: nats.Header{"Status": {"503"}}} // as the server itself says it
		case err != nil:
			reply = refusal("", err)
		}
		_ = nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: answerHeader(reply), Data: reply.Data})
	})
}

// begin does work that close waits for; once the desk is closed, none.
func (d *desk) begin(work func()) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if !d.closed {
		d.done.Go(work)
	}
}

// answerHeader are the headers of an answer that cross with it: whether it is an error.
// Others might mean something to the server, which sends a trace of a message to the
// subject that a header names.
func answerHeader(answer *nats.Msg) nats.Header {
	header := nats.Header{}
	for _, name := range []string{"Status", "Description", micro.ErrorCodeHeader, micro.ErrorHeader} {
		if v := answer.Header.Get(name); v != "" {
			header[name] = []string{v}
		}
	}
	return header
}

// patienceOf is how long the asker of m waits.
func patienceOf(m *nats.Msg) time.Duration {
	if d, err := time.ParseDuration(m.Header.Get(bus.HeaderTimeout)); err == nil && d > 0 {
		return min(d, deskLongest)
	}
	for _, l := range bus.Contract() {
		if s := l.Spec(); s.Timeout > 0 && bus.Covers(s.Subject(), m.Subject) {
			return s.Timeout
		}
	}
	return deskTimeout
}

// refusal is an error as rooms send it.
func refusal(to string, err error) *nats.Msg {
	var e *bus.Error
	if !errors.As(err, &e) {
		e = bus.Errorf(bus.CodeTimeout, "no answer in time")
	}
	return &nats.Msg{Subject: to, Header: nats.Header{micro.ErrorCodeHeader: {string(e.Code)}, micro.ErrorHeader: {e.Message}}}
}

// ask sends the question on, with those headers that are for its answerer.
func (d *desk) ask(ctx context.Context, nc *nats.Conn, subject string, m *nats.Msg) (*nats.Msg, error) {
	q := &nats.Msg{Subject: subject, Data: m.Data, Header: nats.Header{}}
	for _, name := range []string{bus.HeaderTrace, bus.HeaderTimeout} {
		if v := m.Header.Get(name); v != "" {
			q.Header[name] = []string{v}
		}
	}
	return nc.RequestMsgWithContext(ctx, q)
}

// answer looks at a question of a key and passes it on.
func (d *desk) answer(ctx context.Context, p *post, asked string, m *nats.Msg) (*nats.Msg, error) {
	k := p.key
	switch {
	case asked == apiStreamInfo:
		return d.watch.RequestMsgWithContext(ctx, &nats.Msg{Subject: asked}) // without the subjects it might ask for
	case asked == apiCreate || strings.HasPrefix(asked, apiCreate+"."):
		return d.create(ctx, p, asked, m)
	case k.Role != bus.RoleChannel:
	case asked == bus.MessageReceive.Spec().Subject():
		return d.receive(ctx, k, m)
	case asked == bus.MessageGet.Spec().Subject(), asked == bus.MessageCancel.Spec().Subject():
		return d.own(ctx, k, asked, m)
	}
	return nil, bus.Errorf(bus.CodeDenied, "permission denied: %s", asked)
}

// receive takes a message from a channel, in its own name only.
func (d *desk) receive(ctx context.Context, k Key, m *nats.Msg) (*nats.Msg, error) {
	var msg bus.Message
	if err := json.Unmarshal(m.Data, &msg); err != nil {
		return nil, bus.Errorf(bus.CodeInvalid, "payload is not a message: %v", err)
	}
	if msg.Channel != k.Name {
		d.denied(k, bus.MessageReceive.Spec().Subject())
		return nil, bus.Errorf(bus.CodeDenied, "permission denied: the key is for the channel %q", k.Name)
	}
	// What was read is what is sent: another reader might take another of two fields
	// of the same name.
	data, err := json.Marshal(msg)
	if err != nil {
		return nil, err
	}
	return d.ask(ctx, d.house, bus.MessageReceive.Spec().Subject(), &nats.Msg{Data: data, Header: m.Header})
}

// own asks about, or stops, a message of the channel itself.
func (d *desk) own(ctx context.Context, k Key, asked string, m *nats.Msg) (*nats.Msg, error) {
	var q bus.MessageQuery
	if err := json.Unmarshal(m.Data, &q); err != nil {
		return nil, bus.Errorf(bus.CodeInvalid, "payload is not a question for a message: %v", err)
	}
	data, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	question := &nats.Msg{Data: data, Header: m.Header}
	reply, err := d.ask(ctx, d.house, bus.MessageGet.Spec().Subject(), question)
	if err != nil || reply.Header.Get(micro.ErrorCodeHeader) != "" {
		return reply, err
	}
	var record bus.MessageRecord
	if err := json.Unmarshal(reply.Data, &record); err != nil || record.Channel != k.Name {
		return nil, bus.Errorf(bus.CodeNotFound, "there is no message %.80q", q.ID)
	}
	if asked == bus.MessageGet.Spec().Subject() {
		return reply, nil
	}
	return d.ask(ctx, d.house, asked, question)
}
