// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats.go"
)

// ear hears everything in one account.
type ear struct {
	mu   sync.Mutex
	msgs []*nats.Msg
}

func listen(t *testing.T, nc *nats.Conn) *ear {
	t.Helper()
	e := &ear{}
	if _, err := nc.Subscribe(">", func(m *nats.Msg) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.msgs = append(e.msgs, m)
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *ear) heard() []*nats.Msg {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.msgs)
}

// inside are ears in the accounts of a daemon.
func (d *daemon) inside() (house, watch *ear) {
	h, err := d.server.ConnectHouse("ear")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(h.Close)
	w, err := d.server.ConnectWatch("ear")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(w.Close)
	return listen(d.t, h), listen(d.t, w)
}

// Who owns the hub may publish and listen to anything there. In the houses of the
// daemons only the calls that are meant for a hub are heard, made by the room.
func TestTheHubsOwnerDoesNotGetIn(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "")
	s := o.stream(nil)
	a, b := o.join("kitchen"), o.join("garage")
	owner := o.connect()
	a.record(1, 1)
	b.record(1, 1)
	bustest.Eventually(t, "both are joined", func() bool { return len(held(t, s, "kitchen"))+len(held(t, s, "garage")) == 2 })
	house, watch := a.inside()
	asked := bus.StatusGet.Spec().Subject()
	const mark = "planted-by-the-hub"
	for _, subject := range []string{
		"blufio.v1.ctl.keys.issue", "blufio.v1.ctl.token.issue", "blufio.v1.ctl.status", "blufio.v1.ctl.node.ask",
		"blufio.v1.evt.turn.completed", "blufio.v1.msg.receive", "blufio.v1.cost.reserve", "blufio.v1.house.pulse",
		"$JS.API.INFO", "$JS.API.STREAM.DELETE.EVENTS", "$JS.API.DIRECT.GET.EVENTS", "$JS.blufio-kitchen.API.STREAM.NAMES", "$JS.blufio-kitchen.API.INFO",
		"$SRV.PING", "$SRV.STOP", "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.STATZ", "$SYS.REQ.SERVER.PING.VARZ", "_INBOX.operator.x", "_INBOX.house.agent.x", "_INBOX.watch.events.x", "_ACK.x.1", "_R_.x",
		"blufio.node.kitchen.v1.ctl.keys.issue", "blufio.node.kitchen.v1.ctl.token.issue", "blufio.node.kitchen.v1.ctl.node.ask",
		"blufio.node.kitchen.v1.ctl.spending.set", "blufio.node.kitchen.v1.msg.receive", "blufio.node.kitchen.v1.evt.turn.completed",
	} {
		inbox := owner.NewInbox()
		answers, err := owner.SubscribeSync(inbox)
		o.check(err)
		o.check(owner.PublishRequest(subject, inbox, []byte(mark)))
		o.check(owner.Flush())
		for {
			m, err := answers.NextMsg(10 * time.Millisecond)
			if err != nil {
				break
			}
			own := strings.HasPrefix(subject, "$JS.API.") || strings.HasPrefix(subject, "$SYS.") || strings.Contains(subject, ".evt.") // the hub answers itself
			if m.Header.Get("Status") != "503" && (!own || strings.Contains(string(m.Data), "blufio-")) {
				t.Errorf("%s is answered: %s", subject, m.Data)
			}
		}
	}
	// Answers that would be heard as something else are not given.
	for _, reply := range []string{"blufio.node.kitchen.v1.evt.turn.completed", "blufio.node.garage.v1.ctl.status", "blufio.v1.ctl.keys.issue",
		"blufio.v1.evt.turn.completed", "$JS.API.STREAM.DELETE.BLUFIO", ""} {
		for _, subject := range []string{bus.NodeSubject("kitchen", "ctl.status"), bus.NodeHello("kitchen"), bus.NodesHello} {
			if reply == "" && subject == bus.NodesHello {
				continue // is answered on a subject of the daemon's own
			}
			o.check(owner.PublishMsg(&nats.Msg{Subject: subject, Reply: reply}))
		}
	}
	o.check(owner.PublishMsg(&nats.Msg{Subject: bus.NodeClaim("kitchen"), Reply: "blufio.node.kitchen.v1.evt.x", Data: []byte(`{"node":"garage","id":"x"}`)}))
	o.check(owner.Flush())
	bustest.Eventually(t, "they were refused", func() bool { return meter(t, a.room, "blufio_hub_calls_total") >= 17 })
	// The room works all the same, and asks in the house by itself.
	m, err := owner.Request(bus.NodeSubject("kitchen", "ctl.status"), []byte(`{"`+mark+`":1}`), 5*time.Second)
	var st bus.Status
	if err != nil || json.Unmarshal(m.Data, &st) != nil || st.Node != "kitchen" {
		t.Fatalf("%v, %v", m, err)
	}
	calls := 0
	for _, m := range append(house.heard(), watch.heard()...) {
		if strings.Contains(string(m.Data), mark) || strings.HasPrefix(m.Subject, "blufio.node") {
			t.Errorf("heard inside: %s %s", m.Subject, m.Data)
		}
		if m.Subject == asked {
			calls++
		}
	}
	if calls != 1 {
		t.Errorf("ctl.status was asked %d times in the house", calls)
	}
	if n := len(held(t, s, "kitchen")); n != 2 { // its own, and the owner's own forgery
		t.Errorf("%d events of kitchen", n)
	}
}

// Everything that leaves is an event, a claim or an answer; what is said in a house
// stays there, and is not heard by the neighbours.
func TestNothingElseLeaves(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "hub")
	s := o.stream(nil)
	out := listen(t, o.connect())
	a, b := o.join("kitchen"), o.join("garage")
	b.record(1, 1)
	bustest.Eventually(t, "garage is joined", func() bool { return len(held(t, s, "garage")) == 1 })
	house, watch := a.inside()
	talker := b.connect("agent").NATS()
	for _, subject := range []string{"blufio.v1.msg.delta.terminal", "blufio.v1.house.pulse", "blufio.v1.evt.forged", "blufio.v1.ctl.x", "secret.y", "$JS.API.x", "_INBOX.z"} {
		o.check(talker.Publish(subject, []byte("inner talk")))
	}
	o.check(talker.Flush())
	b.record(20, 1)
	bustest.Eventually(t, "its events are out", func() bool { return len(held(t, s, "garage")) == 21 })
	for _, m := range append(house.heard(), watch.heard()...) { // kitchen's own room asks its own relay, and nothing else is said there
		if strings.Contains(string(m.Data), "inner talk") || strings.HasPrefix(m.Subject, "blufio.node") || strings.Contains(m.Subject, ".evt.") || strings.Contains(m.Subject, "secret") {
			t.Errorf("heard in kitchen: %s %s", m.Subject, m.Data)
		}
	}
	allowed := []string{"blufio.node.kitchen.v1.evt.", "blufio.node.kitchen.v1.claim", "blufio.node.garage.v1.evt.", "blufio.node.garage.v1.claim", "_INBOX.", "$JS."} // $JS: the hub's own and this test's
	for _, m := range out.heard() {
		if strings.Contains(string(m.Data), "inner talk") || !slices.ContainsFunc(allowed, func(p string) bool { return strings.HasPrefix(m.Subject, p) }) {
			t.Errorf("heard at the hub: %s %s", m.Subject, m.Data)
		}
	}
}

// Questions beyond what is answered at once are told so.
func TestFloodOfQuestions(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "")
	block := make(chan struct{})
	d := o.join("kitchen")
	bustest.Eventually(t, "it is joined", func() bool { return d.server.HubConnected() })
	door := newDoor(t.Context(), d.room, d.server.Leaf())
	nc := o.connect()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	o.check(err)
	d.hears(nc)
	bound, err := d.room.leaf.Load().SubscribeSync(d.room.leaf.Load().NewInbox()) // what an answer is sent by
	o.check(err)
	question := func() *nats.Msg { return &nats.Msg{Subject: "x", Reply: inbox, Sub: bound} }
	for range doorWorkers + doorQueue {
		door.knock(question(), func(context.Context, []byte) ([]byte, error) { <-block; return []byte("{}"), nil })
	}
	door.knock(question(), nil)
	m, err := sub.NextMsg(5 * time.Second)
	if err != nil || bus.CodeOf(bus.ReplyError(m)) != bus.CodeBusy {
		t.Errorf("%v, %v", m, err)
	}
	close(block)
	for range doorWorkers + doorQueue {
		if m, err := sub.NextMsg(5 * time.Second); err != nil || bus.ReplyError(m) != nil {
			t.Fatalf("%v, %v", m, err)
		}
	}
	door.close()
	big := question()
	big.Data = make([]byte, maxQuestion+1)
	door.knock(big, nil)
	if m, err := sub.NextMsg(5 * time.Second); err != nil || bus.CodeOf(bus.ReplyError(m)) != bus.CodeTooLarge {
		t.Errorf("%v, %v", m, err)
	}
}
