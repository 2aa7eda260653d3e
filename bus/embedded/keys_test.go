// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// holderOf is a key with its seed, as its holder has it.
type holderOf struct {
	*Device
	Key
}

func newKey(t *testing.T, role, name string, change ...func(*Key)) holderOf {
	t.Helper()
	d := device(t)
	k := Key{Public: d.PublicKey(), Name: name, Role: role, Inbox: nuid.Next()}
	for _, c := range change {
		c(&k)
	}
	return holderOf{d, k}
}

func hears(patterns ...string) func(*Key) { return func(k *Key) { k.AllowSub = patterns } }
func calls(patterns ...string) func(*Key) { return func(k *Key) { k.AllowPub = patterns } }

// issue adds a new key and connects with it.
func issue(t *testing.T, s *Server, role, name string, change ...func(*Key)) (holderOf, *nats.Conn) {
	t.Helper()
	k := newKey(t, role, name, change...)
	if err := s.AddKey(k.Key); err != nil {
		t.Fatal(err)
	}
	return k, k.connect(t, s)
}

func (k holderOf) connect(t *testing.T, s *Server, opts ...nats.Option) *nats.Conn {
	t.Helper()
	return keep(t)(k.dial(s, opts...))
}

func (k holderOf) dial(s *Server, opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(s.URL(), append([]nats.Option{k.NATSOption(), nats.CustomInboxPrefix(k.InboxPrefix()), quiet()}, opts...)...)
}

// onBus wraps a connection as our own clients do.
func onBus(t *testing.T, nc *nats.Conn, says ...bus.Lane) *bus.Conn {
	t.Helper()
	return bus.NewConn(nc, bus.Options{Name: "test", Says: says, Logger: slog.New(slog.DiscardHandler)})
}

// ids are what a replay of the stream shows, n of them.
func replayed(t *testing.T, nc *nats.Conn, n int, cfg jetstream.OrderedConsumerConfig) []string {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.OrderedConsumer(deadline(t), streamName, cfg)
	if err != nil {
		t.Fatal(err)
	}
	it, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	var ids []string
	for range n {
		m, err := it.Next(jetstream.NextContext(deadline(t)))
		if err != nil {
			t.Fatalf("after %v: %v", ids, err)
		}
		ids = append(ids, string(m.Data()))
	}
	return ids
}

func TestObserverHearsAndReplays(t *testing.T) {
	s, e := startWithEvents(t, nil)
	_, nc := issue(t, s, bus.RoleObserver, "watcher")
	sub := listen(t, nc, eventSubjects)
	want := []string{"a", "b", "c"}
	for _, id := range want {
		mustPublish(t, e, Event{Subject: tick, ID: id, Data: []byte(id)})
	}
	for _, id := range want {
		if m := next(t, sub); string(m.Data) != id {
			t.Errorf("heard %q", m.Data)
		}
	}
	for name, cfg := range map[string]jetstream.OrderedConsumerConfig{
		"all":      {},
		"filtered": {FilterSubjects: []string{tick}},
		"wide":     {FilterSubjects: []string{eventSubjects}},
		"several":  {FilterSubjects: []string{tick, "blufio.v1.evt.turn.*"}},
		"by seq":   {DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 1},
	} {
		if got := replayed(t, nc, 3, cfg); !slices.Equal(got, want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	// What older clients do: a consumer that pushes.
	old, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	push, err := old.SubscribeSync(eventSubjects, nats.OrderedConsumer())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range want {
		if m := next(t, push); string(m.Data) != id {
			t.Errorf("pushed %q", m.Data)
		}
	}
	// And one that wants acknowledgements.
	pull, err := old.PullSubscribe(eventSubjects, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pull.Fetch(3, nats.MaxWait(patience))
	if err != nil || len(got) != 3 {
		t.Fatalf("fetched %d: %v", len(got), err)
	}
	if err := got[0].AckSync(); err != nil {
		t.Errorf("acknowledge: %v", err)
	}
}

// A key that was there before the stream opened, and one through a stream that is
// made anew.
func TestObserverOutlivesTheStream(t *testing.T) {
	k := newKey(t, bus.RoleObserver, "watcher")
	s := start(t, func(c *Config) { c.Keys = []Key{k.Key} })
	nc := k.connect(t, s)
	e, err := s.OpenEvents(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"first", "second"} {
		if err := e.Recreate(deadline(t)); err != nil {
			t.Fatal(err)
		}
		mustPublish(t, e, Event{Subject: tick, ID: id, Data: []byte(id)})
		if got := replayed(t, nc, 1, jetstream.OrderedConsumerConfig{}); got[0] != id {
			t.Errorf("replayed %v", got)
		}
	}
}

// Keys that are let in while JetStream comes on: it wires every account that it finds, and
// one whose own wiring is not complete would ask the server's JetStream past ours.
func TestKeysComeInWhileTheStreamOpens(t *testing.T) {
	for range 5 {
		s := start(t, nil)
		opened := make(chan error, 1)
		go func() {
			_, err := s.OpenEvents(deadline(t))
			opened <- err
		}()
		var keys []holderOf
		for open := false; !open; {
			select {
			case err := <-opened:
				if err != nil {
					t.Fatal(err)
				}
				open = true
			default:
				k := newKey(t, bus.RoleObserver, fmt.Sprintf("watcher%d", len(keys)))
				if err := s.AddKey(k.Key); err != nil {
					t.Fatal(err)
				}
				keys = append(keys, k)
			}
		}
		for i, k := range keys {
			nc := k.connect(t, s)
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.Stream(deadline(t), streamName); err != nil {
				t.Errorf("key %d of %d: %v", i, len(keys), err)
			}
			nc.Close()
		}
	}
}

// What two patterns choose is heard once, and what none chooses is neither heard nor read.
func TestNarrowedObserver(t *testing.T) {
	const completed, failed, booked = "blufio.v1.evt.turn.completed", "blufio.v1.evt.turn.failed", "blufio.v1.evt.cost.recorded"
	s, e := startWithEvents(t, nil)
	_, nc := issue(t, s, bus.RoleObserver, "turns", hears("blufio.v1.evt.turn.*", "blufio.v1.evt.*.completed"))
	sub := listen(t, nc, "blufio.v1.evt.turn.*")
	for i, subject := range []string{booked, completed, booked, failed} {
		mustPublish(t, e, Event{Subject: subject, ID: strconv.Itoa(i), Data: []byte(subject)})
	}
	for _, want := range []string{completed, failed} {
		if m := next(t, sub); m.Subject != want {
			t.Errorf("heard %s", m.Subject)
		}
	}
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{"blufio.v1.evt.turn.*"}}
	if got := replayed(t, nc, 2, cfg); !slices.Equal(got, []string{completed, failed}) {
		t.Errorf("replayed %v", got)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name, filters := range map[string][]string{"everything": nil, "another": {booked}, "wider": {eventSubjects}, "one too many": {completed, booked}} {
		if _, err := js.OrderedConsumer(deadline(t), streamName, jetstream.OrderedConsumerConfig{FilterSubjects: filters}); err == nil {
			t.Errorf("%s was given", name)
		}
	}
	info, err := js.Stream(deadline(t), streamName)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := info.Info(deadline(t), jetstream.WithSubjectFilter(">")); err != nil || len(st.State.Subjects) > 0 {
		t.Errorf("it was told of %v, %v", st.State.Subjects, err)
	}
	for _, subject := range []string{booked, eventSubjects} {
		refused(t, s, nc, func() { _, _ = nc.SubscribeSync(subject) })
	}
	refused(t, s, nc, func() { _ = nc.PublishRequest(directGet, nc.NewInbox(), []byte(`{"seq":1}`)) })
}

// refused wants exactly one refusal of what do does.
func refused(t *testing.T, s *Server, nc *nats.Conn, do func()) {
	t.Helper()
	before := s.Stats().Denials
	do()
	flush(t, nc)
	if got := s.Stats().Denials - before; got != 1 {
		t.Errorf("%d refusals", got)
	}
}

func TestRevokedKeyIsOut(t *testing.T) {
	for _, role := range []string{bus.RoleObserver, bus.RoleOperator} {
		s := start(t, nil)
		k := newKey(t, role, "watcher")
		if err := s.AddKey(k.Key); err != nil {
			t.Fatal(err)
		}
		if err := s.AddKey(k.Key); !errors.Is(err, ErrKnownKey) {
			t.Errorf("added twice: %v", err)
		}
		closed := make(chan struct{}, 2)
		for range 2 {
			k.connect(t, s, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { closed <- struct{}{} }))
		}
		if s.LastSeen(k.Public).IsZero() {
			t.Error("it was not seen")
		}
		if err := s.RemoveKey(k.Public); err != nil {
			t.Fatal(err)
		}
		<-closed
		<-closed
		if nc, err := k.dial(s); err == nil {
			nc.Close()
			t.Error("it got on again")
		}
		if err := s.RemoveKey(k.Public); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("removed twice: %v", err)
		}
	}
}

// A forged signature, and another key's seed, do not get on under a key's name.
func TestKeyMustBeProved(t *testing.T) {
	s := start(t, nil)
	k := newKey(t, bus.RoleObserver, "watcher")
	if err := s.AddKey(k.Key); err != nil {
		t.Fatal(err)
	}
	other := device(t)
	for name, sign := range map[string]nats.SignatureHandler{
		"another seed": other.Sign,
		"nothing":      func([]byte) ([]byte, error) { return nil, nil },
		"old answer":   func([]byte) ([]byte, error) { return k.Sign([]byte("an old nonce")) },
	} {
		if nc, err := nats.Connect(s.URL(), nats.Nkey(k.Public, sign)); err == nil {
			nc.Close()
			t.Errorf("%s: admitted", name)
		}
	}
}

// An account is used again, and nothing of its last key is left in it.
func TestAccountIsUsedAgain(t *testing.T) {
	s, e := startWithEvents(t, nil)
	room := house(t, s, "agent")
	answering(t, room, bus.StatusGet.Spec().Subject())
	for i := range 5 {
		k, nc := issue(t, s, bus.RoleObserver, "watcher", calls(bus.StatusGet.Spec().Subject()))
		mustPublish(t, e, Event{Subject: tick, ID: strconv.Itoa(i), Data: []byte("x")})
		if len(replayed(t, nc, 1, jetstream.OrderedConsumerConfig{})) != 1 {
			t.Error("no replay")
		}
		if _, err := nc.RequestWithContext(deadline(t), bus.StatusGet.Spec().Subject(), nil); err != nil {
			t.Errorf("call: %v", err)
		}
		if err := s.RemoveKey(k.Public); err != nil {
			t.Fatal(err)
		}
		tool, _ := issue(t, s, bus.RoleTool, "weather")
		if n := s.ring.made; n != 1 {
			t.Fatalf("%d accounts were made", n)
		}
		// Past the permissions of the user: the account itself offers nothing any more.
		inside := tool
		insider := insideAccount(t, s, inside)
		for _, subject := range []string{bus.StatusGet.Spec().Subject(), apiStreamInfo, apiCreate} {
			if _, err := insider.RequestWithContext(deadline(t), subject, nil); !errors.Is(err, nats.ErrNoResponders) {
				t.Errorf("%s is still there: %v", subject, err)
			}
		}
		if err := s.RemoveKey(tool.Public); err != nil {
			t.Fatal(err)
		}
	}
}

// insideAccount connects to a key's account with all permissions: what is not to be
// had there, no mistake in a permission can give.
func insideAccount(t *testing.T, s *Server, k holderOf) *nats.Conn {
	t.Helper()
	insider := device(t)
	s.ring.mu.Lock()
	account := s.ring.holders[k.Public].account
	s.ring.mu.Unlock()
	s.ring.admit(insider.PublicKey(), &holder{account: account})
	t.Cleanup(func() {
		s.ring.mu.Lock()
		defer s.ring.mu.Unlock()
		delete(s.ring.holders, insider.PublicKey())
	})
	return keep(t)(nats.Connect(s.URL(), insider.NATSOption(), nats.CustomInboxPrefix(k.InboxPrefix()), quiet()))
}

// answering has a room answer a call with the subject it was asked on.
func answering(t *testing.T, nc *nats.Conn, subject string) {
	t.Helper()
	if _, err := nc.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond([]byte(m.Subject)) }); err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
}

// Expiry: by the server itself, and by its clock for who comes later.
func TestExpiredKey(t *testing.T) {
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := start(t, func(c *Config) { c.Now = now })
	k := newKey(t, bus.RoleObserver, "short", func(k *Key) { k.Expires = now().Add(time.Hour) })
	if err := s.AddKey(k.Key); err != nil {
		t.Fatal(err)
	}
	k.connect(t, s).Close()
	ahead.Store(int64(time.Hour) - int64(200*time.Millisecond))
	closed := make(chan struct{})
	k.connect(t, s, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	<-closed
	ahead.Store(int64(time.Hour))
	if nc, err := k.dial(s); err == nil {
		nc.Close()
		t.Error("it got on after its end")
	}
}

// One key cannot take all connections.
func TestKeyHasFewConnections(t *testing.T) {
	s := start(t, nil)
	k := newKey(t, bus.RoleObserver, "greedy")
	if err := s.AddKey(k.Key); err != nil {
		t.Fatal(err)
	}
	for range keyConns {
		k.connect(t, s)
	}
	if nc, err := k.dial(s, nats.NoReconnect()); err == nil {
		defer nc.Close()
		if err := nc.FlushTimeout(patience); err == nil {
			t.Error("one more was let in")
		}
	}
	operator(t, s)
}

// While keys come and go nobody else loses a message or a connection: not an observer,
// not a room, not a call, not the stream.
func TestIssueAndRevokeDisturbNobody(t *testing.T) {
	s, e := startWithEvents(t, nil)
	_, watcher := issue(t, s, bus.RoleObserver, "watcher")
	toolKey, tool := issue(t, s, bus.RoleTool, "steady")
	answering(t, tool, toolKey.serves()[0])
	room, op := house(t, s, "agent"), operator(t, s)
	answering(t, room, bus.StatusGet.Spec().Subject())
	var lost atomic.Int64
	for _, nc := range []*nats.Conn{watcher, tool, room, op} {
		nc.SetDisconnectErrHandler(func(*nats.Conn, error) { lost.Add(1) })
	}
	heard := listen(t, watcher, eventSubjects)
	inRoom := listen(t, room, eventSubjects)
	for _, sub := range []*nats.Subscription{heard, inRoom} {
		if err := sub.SetPendingLimits(-1, -1); err != nil {
			t.Fatal(err)
		}
	}

	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var published, acked, asked atomic.Int64
	load.Go(func() {
		for ctx.Err() == nil && published.Load() < nats.DefaultMaxChanLen { // what a subscription can hold
			n := published.Add(1)
			err := e.Publish(t.Context(), Event{Subject: tick, ID: fmt.Sprint(n), Data: []byte(fmt.Sprint(n))}, func(_ Ack, err error) {
				if err == nil {
					acked.Add(1)
				}
			})
			if err != nil {
				t.Errorf("publish: %v", err)
			}
		}
	})
	request := func(nc *nats.Conn, subject string) {
		for ctx.Err() == nil {
			if _, err := nc.RequestWithContext(deadline(t), subject, nil); err != nil && ctx.Err() == nil {
				t.Errorf("ask %s: %v", subject, err)
				return
			}
			asked.Add(1)
		}
	}
	load.Go(func() { request(op, bus.StatusGet.Spec().Subject()) })
	load.Go(func() { request(room, toolKey.serves()[0]) })

	for i := range 20 {
		k, nc := issue(t, s, bus.Roles()[i%4], fmt.Sprintf("guest%d", i))
		flush(t, nc)
		if err := s.RemoveKey(k.Public); err != nil {
			t.Error(err)
		}
		eventually(t, "the guest is out", func() bool { return !nc.IsConnected() })
		nc.Close()
	}
	stop()
	load.Wait()
	n := published.Load()
	eventually(t, "every event is stored", func() bool { return acked.Load() == n })
	for _, sub := range []*nats.Subscription{heard, inRoom} {
		for i := int64(1); i <= n; i++ {
			if m := next(t, sub); string(m.Data) != fmt.Sprint(i) {
				t.Fatalf("heard %s, want %d of %d", m.Data, i, n)
			}
		}
	}
	if lost.Load() > 0 {
		t.Errorf("%d connections were lost", lost.Load())
	}
	t.Logf("%d events, %d calls", n, asked.Load())
}

// What a key may not call is told at once, also where its account has nothing there.
func TestDeniedCallIsToldAtOnce(t *testing.T) {
	s := start(t, nil)
	_, nc := issue(t, s, bus.RoleObserver, "watcher")
	c := onBus(t, nc, bus.StatusGet, bus.MessageSend)
	began := time.Now()
	_, err := bus.StatusGet.Ask(t.Context(), c, bus.StatusQuery{})
	if bus.CodeOf(err) != bus.CodeDenied || err.Error() != "permission denied: blufio.v1.ctl.status" {
		t.Errorf("err = %v", err)
	}
	if took := time.Since(began); took > bus.StatusGet.Spec().Timeout/2 {
		t.Errorf("it took %s", took)
	}
}

func TestExplicitKeyCalls(t *testing.T) {
	s := start(t, nil)
	room := house(t, s, "agent")
	answering(t, room, "blufio.v1.ctl.>")
	answering(t, room, "blufio.v1.msg.>")
	_, nc := issue(t, s, bus.RoleExplicit, "both", hears("blufio.v1.msg.delta.*", "blufio.v1.evt.turn.*"),
		calls("blufio.v1.ctl.queue.*", "blufio.v1.ctl.queue.list", "blufio.v1.ctl.job", "blufio.v1.msg.send.telegram", "blufio.v1.msg.receive"))
	for _, subject := range []string{"blufio.v1.ctl.queue.list", "blufio.v1.ctl.queue.drop", "blufio.v1.ctl.job"} {
		if m, err := nc.RequestWithContext(deadline(t), subject, nil); err != nil || string(m.Data) != subject {
			t.Errorf("%s: %v", subject, err)
		}
	}
	for _, subject := range []string{"blufio.v1.ctl.status", "blufio.v1.ctl.keys.issue", "blufio.v1.msg.send.telegram", "blufio.v1.msg.receive", "blufio.v1.evt.turn.failed"} {
		refused(t, s, nc, func() { _ = nc.Publish(subject, nil) })
	}
	sub := listen(t, nc, "blufio.v1.msg.delta.*")
	if err := room.Publish("blufio.v1.msg.delta.gateway", []byte("x")); err != nil {
		t.Fatal(err)
	}
	next(t, sub)
}

// Keys, tokens and secrets are for operators, a channel's calls for channels, and rooms
// speak for themselves, whatever a stored key says.
func TestNoKeyIsGivenTheCallsOfOperators(t *testing.T) {
	k := newKey(t, bus.RoleExplicit, "greedy", calls("blufio.v1.>", "blufio.v1.ctl.keys.issue", "blufio.v1.ctl.token.*"))
	for _, subject := range k.Rights().Publish {
		for _, forbidden := range []string{"blufio.v1.ctl.keys.", "blufio.v1.ctl.token.", "blufio.v1.ctl.vault.", "blufio.v1.ctl.backup.", "blufio.v1.evt.",
			"blufio.v1.msg.", "blufio.v1.cost.reserve", "blufio.v1.cost.settle", "blufio.v1.gov.", "blufio.v1.agent.status"} {
			if strings.HasPrefix(subject, forbidden) {
				t.Errorf("it may publish to %s", subject)
			}
		}
	}
}
