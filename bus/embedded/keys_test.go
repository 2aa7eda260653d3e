// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"testing"

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

func TestObserverHearsAndReplays(t *testing.T) {
	s, e := startWithEvents(t, nil)
	_, nc := issue(t, s, bus.RoleObserver, "watcher")
	sub := listen(t, nc, "blufio.v1.evt.>")
	for _, id := range []string{"a", "b", "c"} {
		mustPublish(t, e, Event{Subject: tick, ID: id, Data: []byte(id)})
	}
	for _, id := range []string{"a", "b", "c"} {
		if m := next(t, sub); string(m.Data) != id {
			t.Errorf("heard %q", m.Data)
		}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]jetstream.OrderedConsumerConfig{
		"all":      {},
		"filtered": {FilterSubjects: []string{tick}},
		"wide":     {FilterSubjects: []string{"blufio.v1.evt.>"}},
		"by seq":   {DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 1},
	} {
		c, err := js.OrderedConsumer(deadline(t), streamName, cfg)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		it, err := c.Messages()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, id := range []string{"a", "b", "c"} {
			m, err := it.Next(jetstream.NextContext(deadline(t)))
			if err != nil || string(m.Data()) != id {
				t.Fatalf("%s: replayed %v, %v", name, m, err)
			}
		}
		it.Stop()
	}
	// The push consumer of older clients.
	old, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	push, err := old.SubscribeSync("blufio.v1.evt.>", nats.OrderedConsumer())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if m := next(t, push); string(m.Data) != id {
			t.Errorf("pushed %q", m.Data)
		}
	}
}

func TestRevokedKeyIsOut(t *testing.T) {
	s := start(t, nil)
	k := newKey(t, bus.RoleObserver, "watcher")
	if err := s.AddKey(k.Key); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	k.connect(t, s, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if s.LastSeen(k.Public).IsZero() {
		t.Error("it was not seen")
	}
	if err := s.RemoveKey(k.Public); err != nil {
		t.Fatal(err)
	}
	<-closed
	if nc, err := k.dial(s); err == nil {
		nc.Close()
		t.Error("it got on again")
	}
}
