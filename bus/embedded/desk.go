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
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

const (
	deskWork    = 64              // questions that the desk passes on at the same time
	deskTimeout = 5 * time.Second // for an answer, when the asker says nothing
	deskLongest = 10 * time.Minute
	// A consumer that nobody asks goes after this long, at most.
	maxIdle = 5 * time.Minute
)

// desk passes on what crosses between keys and the house and has to be looked at: an
// account can say who may ask, but not what. It hears keys in the account EDGE, under a
// subject that names the key, and asks the rooms in HOUSE and the stream in WATCH. The
// other way it hears calls of the rooms for channels and tools, and asks the holder of
// the key in the key's account.
type desk struct {
	house, watch, edge *nats.Conn
	work               chan struct{}
	ctx                context.Context // ends with the desk
	stop               context.CancelFunc
	done               sync.WaitGroup

	mu     sync.RWMutex
	posted map[string]*post // by the key's inbox word
}

// post is a key that the desk serves.
type post struct {
	key  Key
	subs []*nats.Subscription // in HOUSE: what its holder answers
}

func newDesk(s *Server) (*desk, error) {
	d := &desk{work: make(chan struct{}, deskWork), posted: map[string]*post{}}
	d.ctx, d.stop = context.WithCancel(context.Background()) // as long as the server: close ends it
	var err error
	if d.house, err = s.ConnectHouse("desk"); err == nil {
		if d.watch, err = s.ConnectWatch("desk"); err == nil {
			d.edge, err = s.connect(s.edge, "_INBOX.edge.", "desk", nil)
		}
	}
	if err == nil {
		_, err = d.edge.Subscribe(deskSubjects, d.heard)
	}
	if err == nil {
		err = d.edge.FlushTimeout(deskTimeout)
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("open desk: %w", err)
	}
	return d, nil
}

func (d *desk) close() {
	d.stop()
	for _, nc := range []*nats.Conn{d.house, d.watch, d.edge} {
		if nc != nil {
			nc.Close()
		}
	}
	d.done.Wait()
}

// post begins to serve a key that is in the slot.
func (d *desk) post(k Key, s *slot) error {
	p := &post{key: k}
	for _, subject := range k.serves() {
		to := s.subject(subject)
		sub, err := d.house.Subscribe(subject, func(m *nats.Msg) {
			d.passOn(d.house, m, func(ctx context.Context) (*nats.Msg, error) { return d.ask(ctx, d.edge, to, m) })
		})
		if err != nil {
			return fmt.Errorf("listen on %s: %w", subject, err)
		}
		p.subs = append(p.subs, sub)
	}
	d.mu.Lock()
	d.posted[k.Inbox] = p
	d.mu.Unlock()
	return d.house.FlushTimeout(deskTimeout)
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

// heard takes a question of a key.
func (d *desk) heard(m *nats.Msg) {
	token, asked, ok := deskQuestion(m.Subject)
	d.mu.RLock()
	p := d.posted[token]
	d.mu.RUnlock()
	if !ok || p == nil || m.Reply == "" {
		return // the key has just gone, or nobody waits
	}
	d.passOn(d.edge, m, func(ctx context.Context) (*nats.Msg, error) { return d.answer(ctx, p.key, asked, m) })
}

// passOn works out the answer to a message that came over nc and sends it there.
func (d *desk) passOn(nc *nats.Conn, m *nats.Msg, answer func(context.Context) (*nats.Msg, error)) {
	if !bus.IsInbox(m.Reply) {
		return // it would be heard as something else
	}
	select {
	case d.work <- struct{}{}:
	default:
		_ = nc.PublishMsg(refusal(m.Reply, bus.Errorf(bus.CodeBusy, "too many calls are under way")))
		return
	}
	d.done.Go(func() {
		defer func() { <-d.work }()
		ctx, cancel := context.WithTimeout(d.ctx, patienceOf(m))
		defer cancel()
		reply, err := answer(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			reply = &nats.Msg{Header: nats.Header{"Status": {"503"}}} // as the server itself says it
		case err != nil:
			reply = refusal("", err)
		}
		// A message of its own: headers of the other account stay there.
		_ = nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: reply.Header, Data: reply.Data})
	})
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
func (d *desk) answer(ctx context.Context, k Key, asked string, m *nats.Msg) (*nats.Msg, error) {
	switch {
	case asked == apiStreamInfo:
		return d.watch.RequestMsgWithContext(ctx, &nats.Msg{Subject: asked}) // without the subjects it might ask for
	case asked == apiCreate || strings.HasPrefix(asked, apiCreate+"."):
		return d.create(ctx, k, asked, m)
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

// create makes a consumer of the stream: one that goes by itself, shows what the key
// may hear, and delivers to the key's own inbox if anywhere. JetStream would deliver to
// any subject of its account, its own API and the inboxes of others included.
func (d *desk) create(ctx context.Context, k Key, asked string, m *nats.Msg) (*nats.Msg, error) {
	var req server.CreateConsumerRequest
	if err := json.Unmarshal(m.Data, &req); err != nil {
		return apiRefusal("the request is not the JSON of a consumer"), nil
	}
	if why := k.consumerProblem(asked, &req); why != "" {
		return apiRefusal(why), nil
	}
	if c := &req.Config; c.InactiveThreshold == 0 || c.InactiveThreshold > maxIdle {
		c.InactiveThreshold = min(max(c.InactiveThreshold, time.Minute), maxIdle)
	}
	data, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	return d.watch.RequestMsgWithContext(ctx, &nats.Msg{Subject: asked, Data: data})
}

// consumerProblem says why the key may not make that consumer, "" if it may.
func (k Key) consumerProblem(asked string, req *server.CreateConsumerRequest) string {
	c := &req.Config
	switch {
	case req.Stream != streamName:
		return "the request names another stream"
	case c.Durable != "":
		return "this key may not make durable consumers; use an ordered or an ephemeral one"
	case c.DeliverSubject != "" && (!strings.HasPrefix(c.DeliverSubject, k.InboxPrefix()+".") || strings.ContainsAny(c.DeliverSubject, "*> \t\r\n")):
		return "permission denied: this key takes delivery under " + k.InboxPrefix() + " only; set that as the inbox prefix"
	case c.SampleFrequency != "":
		return "this key may not have its acknowledgements sampled"
	}
	filters := c.FilterSubjects
	if c.FilterSubject != "" {
		filters = append(filters, c.FilterSubject)
	}
	if len(filters) == 0 && !k.all() {
		return "permission denied: this key sees some events only; name them as filter: " + strings.Join(k.facts(), ", ")
	}
	for _, f := range filters {
		if !k.mayRead(f) {
			return "permission denied: " + f
		}
	}
	return ""
}

func (k Key) mayRead(filter string) bool {
	for _, allowed := range k.facts() {
		if bus.Covers(allowed, filter) {
			return true
		}
	}
	return k.all()
}

// apiRefusal is an error as JetStream's API sends it.
func apiRefusal(why string) *nats.Msg {
	data, err := json.Marshal(server.JSApiConsumerCreateResponse{ApiResponse: server.ApiResponse{
		Type: server.JSApiConsumerCreateResponseType, Error: &server.ApiError{Code: 403, ErrCode: 10000, Description: why}}})
	if err != nil {
		return &nats.Msg{}
	}
	return &nats.Msg{Data: data}
}
