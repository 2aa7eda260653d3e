// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// status asks for another daemon's status, as `blufio --node NAME status` does.
func (m *member) status(ctx context.Context, node string) (st bus.Status, err error) {
	a, err := bus.NodeAsk.Ask(ctx, m.Conn, bus.NodeQuestion{Node: node, Call: bus.StatusGet.Spec().Name})
	switch {
	case err != nil:
		return st, err
	case a.Error != nil:
		return st, a.Error.Err(node)
	}
	return st, json.Unmarshal(a.Answer, &st)
}

// recorded are all events of the daemon, as it tells them itself.
func (m *member) recorded(t *testing.T) (events []bus.EventRecord, epoch string) {
	t.Helper()
	q := bus.EventQuery{Limit: 500}
	for {
		p, err := bus.EventsRead.Ask(t.Context(), m.Conn, q)
		check(t, err)
		events = append(events, p.Events...)
		if !p.More {
			return events, p.Epoch
		}
		q.After = p.Last
	}
}

// kept is what the hub's stream has, by daemon.
func kept(t *testing.T, s jetstream.Stream) map[string][]*jetstream.RawStreamMsg {
	t.Helper()
	info, err := s.Info(t.Context())
	check(t, err)
	all := map[string][]*jetstream.RawStreamMsg{}
	for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		check(t, err)
		node := strings.Split(m.Subject, ".")[2]
		all[node] = append(all[node], m)
	}
	return all
}

// counts is how many events the hub's stream has, by daemon.
func counts(t *testing.T, s jetstream.Stream) map[string]int {
	t.Helper()
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(bus.NodeFacts))
	check(t, err)
	n := map[string]int{}
	for subject, msgs := range info.State.Subjects {
		n[strings.Split(subject, ".")[2]] += int(msgs)
	}
	return n
}

// reached compares what a daemon recorded with what the hub has of it: the same
// events, each once, in order.
func reached(t *testing.T, m *member, msgs []*jetstream.RawStreamMsg) error {
	t.Helper()
	events, epoch := m.recorded(t)
	node := m.cfg.Daemon.Node
	if len(events) != len(msgs) {
		return fmt.Errorf("%s recorded %d events, the hub has %d", node, len(events), len(msgs))
	}
	for i, e := range events {
		id := fmt.Sprintf("%s-%s-%d", node, epoch, i+1)
		switch msg := msgs[i]; {
		case e.Position != int64(i+1):
			return fmt.Errorf("%s: position %d is missing in its own stream", node, i+1)
		case msg.Header.Get(nats.MsgIdHdr) != id, msg.Subject != bus.NodeSubject(node, e.Event):
			return fmt.Errorf("message %d is %s on %s, not %s", i, msg.Header.Get(nats.MsgIdHdr), msg.Subject, id)
		case !bytes.Equal(msg.Data, e.Payload):
			return fmt.Errorf("%s carries %s, not %s", id, msg.Data, e.Payload)
		}
	}
	return nil
}

// arrived waits until the hub has all that a daemon recorded, which may become more
// meanwhile.
func arrived(t *testing.T, m *member, s jetstream.Stream) {
	t.Helper()
	node := m.cfg.Daemon.Node
	var lacks error
	bustest.Eventually(t, "every event of "+node, func() bool {
		if events, _ := m.recorded(t); len(events) != counts(t, s)[node] {
			return false
		}
		if err := reached(t, m, kept(t, s)[node]); lacks == nil || err == nil {
			lacks = err
		} else if err.Error() == lacks.Error() { // and it stays so
			t.Fatal(err)
		}
		return lacks == nil
	})
}

const innerTalk = "the boiler code is 4711"

// load has a daemon answer messages until stop is called.
func (m *member) load(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var talking sync.WaitGroup
	talking.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_, _ = bus.MessageReceive.Ask(ctx, m.Conn, bus.Message{Channel: "terminal", Owner: "owner", Session: fmt.Sprintf("s%d", i%4), Text: innerTalk})
			select {
			case <-time.After(5 * time.Millisecond): // a steady pace, not a race
			case <-ctx.Done():
			}
		}
	})
	return func() { cancel(); talking.Wait() }
}

// Three daemons on one hub, with the configuration that contrib/hub proposes. The
// hub goes away under load and comes back, one daemon is started anew meanwhile:
// each event of each daemon is at the hub once, in order.
func TestFleet(t *testing.T) {
	names := []string{"kitchen", "garage", "attic"}
	h := newHub(t, names...)
	s := h.stream()
	var all []*member
	for _, name := range names {
		all = append(all, h.join(name, nil))
	}
	for _, asker := range all {
		for _, name := range names {
			bustest.Eventually(t, name+" answers", func() bool {
				st, err := asker.status(t.Context(), name)
				return err == nil && st.Node == name && st.State == bus.Healthy && st.Version == "test"
			})
		}
	}
	n, err := bus.NodeList.Ask(t.Context(), all[0].Conn, bus.NodesQuery{})
	listed := func(r bus.NodeRow) string { return r.Node + " " + r.State }
	if err != nil || n.Self != "kitchen" || n.More || len(n.Nodes) != 3 || listed(n.Nodes[0]) != "attic healthy" || listed(n.Nodes[2]) != "kitchen healthy" || n.Nodes[1].RSS == nil || n.Nodes[1].Today == nil {
		t.Errorf("%+v, %v", n, err)
	}

	var stops []func()
	for _, m := range all {
		stops = append(stops, m.load(t))
	}
	reaches := func(what string, least int) {
		bustest.Eventually(t, what, func() bool {
			have := counts(t, s)
			return !slices.ContainsFunc(names, func(n string) bool { return have[n] < least })
		})
	}
	reaches("events come while all is well", 30)
	h.stop()
	bustest.Eventually(t, "that the hub is away is told", func() bool {
		_, err := all[0].status(t.Context(), "garage")
		return bus.CodeOf(err) == bus.CodeUnavailable
	})
	if st, err := all[0].status(t.Context(), "kitchen"); err != nil || st.Node != "kitchen" {
		t.Errorf("asked for itself: %+v, %v", st, err)
	}
	stops[2]()
	all[2].stop()
	all[2].start(t) // is ready without the hub
	stops[2] = all[2].load(t)
	for _, m := range all { // they go on meanwhile
		begun, _ := m.recorded(t)
		bustest.Eventually(t, m.cfg.Daemon.Node+" records events without the hub", func() bool { events, _ := m.recorded(t); return len(events) >= len(begun)+30 })
	}
	h.start()
	s = h.stream()
	before := counts(t, s)
	reaches("events come again", max(before["kitchen"], before["garage"], before["attic"])+30)
	for _, stop := range stops {
		stop()
	}
	for _, m := range all {
		arrived(t, m, s)
	}
	for _, msgs := range kept(t, s) {
		for _, m := range msgs {
			if bytes.Contains(m.Data, []byte("boiler")) {
				t.Errorf("%s tells what was written: %s", m.Subject, m.Data)
			}
		}
	}
	// Another restart of the hub, all at rest: nothing is sent again.
	h.stop()
	h.start()
	s = h.stream()
	for _, name := range names[1:] {
		bustest.Eventually(t, name+" is back", func() bool { st, err := all[0].status(t.Context(), name); return err == nil && st.Node == name })
	}
	for _, m := range all {
		arrived(t, m, s)
	}
	// The farewell of a daemon reaches the hub too.
	had := counts(t, s)["garage"]
	_, err = bus.MessageReceive.Ask(t.Context(), all[1].Conn, bus.Message{Channel: "terminal", Owner: "owner", Text: "hello"})
	check(t, err)
	bustest.Eventually(t, "garage sends again", func() bool { return counts(t, s)["garage"] > had })
	all[1].stop()
	msgs := kept(t, s)["garage"]
	if last := msgs[len(msgs)-1].Subject; last != bus.NodeSubject("garage", bus.DaemonStopping.Spec().Name) {
		t.Errorf("the last word of garage is %s", last)
	}
	start := time.Now()
	if _, err := all[0].status(t.Context(), "garage"); bus.CodeOf(err) != bus.CodeNotFound || time.Since(start) > 2*time.Second {
		t.Errorf("asked for one that has gone: %v after %s", err, time.Since(start))
	}
}

// The example is refused as it stands: nobody's key is in it.
func TestHubExampleHasNoKeys(t *testing.T) {
	if _, err := server.ProcessConfigFile("../../contrib/hub/hub.conf"); err == nil || !strings.Contains(err.Error(), "PUBLIC_KEY") && !strings.Contains(err.Error(), "nkey") {
		t.Errorf("got %v", err)
	}
}

// A daemon's key does not let it speak for another one, nor listen to its events.
func TestHubKeysAreLimited(t *testing.T) {
	h := newHub(t, "kitchen", "garage")
	h.stream()
	key := h.key("kitchen")
	nc, err := nats.Connect(h.server.ClientURL(), nats.Nkey(public(t, key), key.Sign), nats.CustomInboxPrefix(bus.NodeInbox("kitchen")),
		nats.PermissionErrOnSubscribe(true), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	check(t, err)
	defer nc.Close()
	for subject, allowed := range map[string]bool{
		bus.NodeSubject("kitchen", "evt.turn.completed"):                                     true,
		bus.NodeSubject("garage", "evt.turn.completed"):                                      false,
		bus.NodeClaim("garage"):                                                              false,
		bus.NodeLast("hub", bus.NodeStream, bus.NodeSubject("garage", "evt.turn.completed")): false,
		"$JS.hub.API.STREAM.DELETE.BLUFIO":                                                   false, "$JS.API.STREAM.PURGE.BLUFIO": false, "$JS.API.STREAM.MSG.GET.BLUFIO": false,
	} {
		m, err := nc.Request(subject, nil, 300*time.Millisecond)
		if (err == nil) != allowed {
			t.Errorf("%s: %v, %v", subject, m, err)
		}
	}
	for _, subject := range []string{">", "blufio.>", bus.NodeFacts, bus.NodeSubject("garage", "ctl.>"), "_INBOX.>", "_INBOX.node.>"} {
		sub, err := nc.SubscribeSync(subject)
		check(t, err)
		check(t, nc.Flush())
		if _, err := sub.NextMsg(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "permission") {
			t.Errorf("%s may be listened to: %v", subject, err)
		}
	}
}

// A key speaks under the name that the hub knows it by, and under no other: whoever has
// kitchen's can add no line to what the others see.
func TestKeyUnderAnotherName(t *testing.T) {
	h := newHub(t, "kitchen", "garage")
	h.stream()
	garage := h.join("garage", nil)
	attic := h.join("attic", func(cfg *Config) { cfg.Bus.Leaf.SeedFile = h.seedFile("kitchen") })
	nc, err := nats.Connect(h.server.ClientURL(), nats.Nkey(public(t, h.key("kitchen")), h.key("kitchen").Sign), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	check(t, err)
	t.Cleanup(nc.Close)
	asked := make(chan struct{}, 16)
	_, err = nc.Subscribe(bus.NodesHello, func(m *nats.Msg) {
		row := []byte(`{"node":"cellar","id":"forged","state":"degraded","version":"1"}`)
		_ = nc.Publish(bus.NodeHere("cellar"), row)
		_ = nc.Publish(bus.NodeHere("kitchen"), row)
		_ = m.Respond(row)
		asked <- struct{}{}
	})
	check(t, err)
	check(t, nc.Flush())
	bustest.Eventually(t, "garage is joined", func() bool { st, err := garage.status(t.Context(), "garage"); return err == nil && st.Node == "garage" })
	bustest.Eventually(t, "attic tells what is wrong", func() bool {
		st, err := bus.StatusGet.Ask(t.Context(), attic.Conn, bus.StatusQuery{})
		return err == nil && slices.ContainsFunc(st.Services, func(s bus.ServiceStatus) bool {
			return slices.ContainsFunc(s.Problems, func(p bus.Problem) bool {
				return p.Code == "hub_stream" && strings.Contains(p.Hint, "under another name")
			})
		})
	})
	n, err := bus.NodeList.Ask(t.Context(), garage.Conn, bus.NodesQuery{})
	check(t, err)
	<-asked
	if len(n.Nodes) != 1 || n.Nodes[0].Node != "garage" {
		t.Errorf("%+v", n.Nodes)
	}
}
