// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
)

func TestWhoGetsOn(t *testing.T) {
	s := start(t, nil)
	forged := nats.Nkey(s.cfg.Device.PublicKey(), device(t).Sign) // the right name, the wrong signature
	tests := map[string]struct {
		url  string
		opts []nats.Option
		ok   bool
	}{
		"TCP, no key":                {s.URL(), nil, false},
		"TCP, unknown key":           {s.URL(), []nats.Option{device(t).NATSOption()}, false},
		"TCP, forged signature":      {s.URL(), []nats.Option{forged}, false},
		"TCP, password":              {s.URL(), []nats.Option{nats.UserInfo("operator", "x")}, false},
		"TCP, device key":            {s.URL(), []nats.Option{s.cfg.Device.NATSOption()}, true},
		"TCP, key of the rooms":      {s.URL(), []nats.Option{s.house.NATSOption()}, false},
		"TCP, key of the relay":      {s.URL(), []nats.Option{s.watch.NATSOption()}, false},
		"in process, no key":         {"", []nats.Option{nats.InProcessServer(s.ns)}, false},
		"in process, unknown key":    {"", []nats.Option{nats.InProcessServer(s.ns), device(t).NATSOption()}, false},
		"in process, forged":         {"", []nats.Option{nats.InProcessServer(s.ns), forged}, false},
		"in process, key of a room":  {"", []nats.Option{nats.InProcessServer(s.ns), s.house.NATSOption()}, true},
		"in process, key of a relay": {"", []nats.Option{nats.InProcessServer(s.ns), s.watch.NATSOption()}, true},
	}
	// All at once, because a refusal in process takes the write deadline of
	// two seconds: client and server both write to a pipe without a buffer.
	var wg sync.WaitGroup
	for name, tt := range tests {
		wg.Go(func() {
			nc, err := nats.Connect(tt.url, tt.opts...)
			if err == nil {
				nc.Close()
			}
			if (err == nil) != tt.ok {
				t.Errorf("%s: err = %v, want admitted: %v", name, err, tt.ok)
			}
		})
	}
	wg.Wait()
	if got := s.Stats().AuthErrors; got != 9 {
		t.Errorf("AuthErrors = %d, want 9", got)
	}
}

// The server tells of refusals with locks of its own held, also from within Check. To
// name who was refused must not wait for whoever changes the keys.
func TestNamesAreFoundWhileKeysChange(t *testing.T) {
	s := start(t, nil)
	k, _ := issue(t, s, bus.RoleObserver, "dashboard")
	s.ring.mu.Lock()
	defer s.ring.mu.Unlock()
	if got := s.NameOf(k.Public); got != "dashboard" {
		t.Errorf("it is called %q", got)
	}
}

func TestConnectNeedsAWord(t *testing.T) {
	s := start(t, nil)
	for _, name := range []string{"", "a.b", "*", ">", "a b", "Agent", strings.Repeat("a", 65)} {
		if nc, err := s.ConnectHouse(name); err == nil {
			nc.Close()
			t.Errorf("%q was admitted", name)
		}
	}
}

func TestOperatorMay(t *testing.T) {
	s := start(t, nil)
	room, op := house(t, s, "agent"), operator(t, s)
	for _, subject := range []string{"blufio.v1.ctl.status", "blufio.v1.msg.receive", "blufio.v1.agent.sessions", "blufio.v1.cost.report"} {
		sub, err := room.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond([]byte("yes")) })
		if err != nil {
			t.Fatal(err)
		}
		flush(t, room)
		if m, err := op.RequestWithContext(deadline(t), subject, nil); err != nil || string(m.Data) != "yes" {
			t.Errorf("ask %s: %v", subject, err)
		}
		_ = sub.Unsubscribe()
	}
	for _, subject := range []string{"blufio.v1.evt.clock.ticked", "blufio.v1.msg.delta.terminal"} {
		sub := listen(t, op, subject)
		if err := room.Publish(subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		next(t, sub)
	}
}

// An operator that may answer could ask itself, with a fact's subject for the reply,
// and so state that fact.
func TestOperatorAnswersNothing(t *testing.T) {
	s := start(t, nil)
	op := operator(t, s)
	heard, facts := listen(t, op, "blufio.v1.msg.x"), listen(t, house(t, s, "agent"), eventSubjects)
	if err := op.PublishRequest("blufio.v1.msg.x", tick, nil); err != nil {
		t.Fatal(err)
	}
	if err := next(t, heard).Respond([]byte("forged")); err != nil {
		t.Fatal(err)
	}
	flush(t, op)
	silent(t, facts, marker(t, house(t, s, "relay")))
}

// What micro answers for a room goes where the asker says, but not to a fact's subject.
func TestRoomStatesNoFacts(t *testing.T) {
	s := start(t, nil)
	room := keep(t)(s.ConnectRoom("agent", quiet()))
	if _, err := micro.AddService(room, micro.Config{Name: "agent", Version: "1.0.0"}); err != nil {
		t.Fatal(err)
	}
	flush(t, room)
	facts, op := listen(t, house(t, s, "spy"), eventSubjects), operator(t, s)
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		if err := op.PublishRequest("$SRV."+verb, tick, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := op.RequestWithContext(deadline(t), "$SRV."+verb, nil); err != nil { // it comes after
			t.Fatal(err)
		}
	}
	silent(t, facts, marker(t, house(t, s, "relay")))
}

func TestOperatorMayNot(t *testing.T) {
	s := start(t, nil)
	room := house(t, s, "agent")
	all := listen(t, room, ">")
	refused := make(chan string, 32)
	op := keep(t)(nats.Connect(s.URL(), s.cfg.Device.NATSOption(), nats.CustomInboxPrefix(OperatorInbox),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err.Error() })))

	publish := []string{"blufio.v1.evt.cost.recorded", "blufio.v1.gov.shed", "blufio.v1.gov.read", "blufio.v1.tool.x",
		"blufio.v1.house.stop", "_INBOX.house.agent.x", "$SYS.REQ.SERVER.PING", "$JS.API.INFO", "elsewhere"}
	for _, subject := range publish {
		if err := op.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
	}
	subscribe := []string{">", "blufio.>", "blufio.v1.ctl.>", "blufio.v1.cost.>", "_INBOX.>", "_INBOX.house.>", "$SRV.>", "$SYS.>"}
	for _, subject := range subscribe {
		if _, err := op.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, op)
	for range len(publish) + len(subscribe) {
		select {
		case text := <-refused:
			if !strings.Contains(strings.ToLower(text), "permissions violation") {
				t.Errorf("refusal %q", text)
			}
		case <-time.After(patience):
			t.Fatal("something was not refused")
		}
	}
	silent(t, all, marker(t, room))
	if got, want := s.Stats().Denials, uint64(len(publish)+len(subscribe)); got != want {
		t.Errorf("Denials = %d, want %d", got, want)
	}
}

func marker(t *testing.T, nc *nats.Conn) func(string) {
	return func(subject string) {
		t.Helper()
		if err := nc.Publish(subject, []byte("marker")); err != nil {
			t.Fatal(err)
		}
		flush(t, nc)
	}
}

// A room's calls are micro endpoints: an operator sees and asks them with the
// stock inbox machinery, under its own prefix.
func TestMicroServiceAnswersTheOperator(t *testing.T) {
	s := start(t, nil)
	svc, err := micro.AddService(house(t, s, "agent"), micro.Config{Name: "agent", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = svc.Stop() })
	err = svc.AddEndpoint("status", micro.HandlerFunc(func(r micro.Request) { _ = r.Respond([]byte("fine")) }),
		micro.WithEndpointSubject("blufio.v1.ctl.status"))
	if err != nil {
		t.Fatal(err)
	}
	op := operator(t, s)
	if m, err := op.RequestWithContext(deadline(t), "blufio.v1.ctl.status", nil); err != nil || string(m.Data) != "fine" {
		t.Errorf("ask: %v", err)
	}
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		m, err := op.RequestWithContext(deadline(t), "$SRV."+verb+".agent", nil)
		if err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
		var answer struct{ Name string }
		if err := json.Unmarshal(m.Data, &answer); err != nil || answer.Name != "agent" {
			t.Errorf("%s: %q", verb, m.Data)
		}
	}
}

// Whoever is in WATCH may do anything there, and none of it reaches a room.
func TestWatchDoesNotReachTheHouse(t *testing.T) {
	s, e := startWithEvents(t, nil)
	room := house(t, s, "agent")
	all := listen(t, room, ">")
	mustPublish(t, e, Event{Subject: tick, ID: "a", Data: []byte("stored")})
	next(t, all) // the event itself
	attacker := watch(t, s, "attacker")
	const target = "blufio.v1.ctl.keys.revoke"

	// A fact or a command stated directly.
	for _, subject := range []string{target, "blufio.v1.evt.cost.recorded", "_INBOX.house.agent.x", "blufio.v1.msg.receive"} {
		if err := attacker.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
	}
	// The answer of JetStream sent to a command's subject.
	for api, body := range map[string]string{
		"$JS.API.STREAM.MSG.GET.EVENTS":           `{"seq":1}`,
		"$JS.API.DIRECT.GET.EVENTS":               `{"seq":1}`,
		"$JS.API.DIRECT.GET.EVENTS." + tick:       "",
		"$JS.API.STREAM.INFO.EVENTS":              "",
		"$JS.API.INFO":                            "",
		"$SYS.REQ.USER.INFO":                      "",
		"blufio.v1.evt.clock.ticked":              "an acknowledgement as a command",
		"$JS.API.CONSUMER.CREATE.EVENTS.attacker": `{"stream_name":"EVENTS","config":{"name":"attacker","deliver_subject":"` + target + `","ack_policy":"none"}}`,
	} {
		if err := attacker.PublishRequest(api, target, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, attacker)
	// The attack has happened: within WATCH its target hears the answers.
	echo := listen(t, attacker, target)
	if err := attacker.PublishRequest("$JS.API.STREAM.INFO.EVENTS", target, nil); err != nil {
		t.Fatal(err)
	}
	next(t, echo)
	silent(t, all, marker(t, room))
}

// A room may say what is a fact; the observers' account hears facts only.
func TestHouseReachesWatchWithEventsOnly(t *testing.T) {
	s := start(t, nil)
	room, observer := house(t, s, "agent"), watch(t, s, "observer")
	all := listen(t, observer, ">")
	for _, subject := range []string{"blufio.v1.msg.delta.terminal", "blufio.v1.ctl.status", "blufio.v1.evt", "_INBOX.watch.observer.x"} {
		if err := room.Publish(subject, []byte("private")); err != nil {
			t.Fatal(err)
		}
	}
	if err := room.Publish(tick, []byte("fact")); err != nil {
		t.Fatal(err)
	}
	if m := next(t, all); m.Subject != tick {
		t.Errorf("heard %s", m.Subject)
	}
}

func TestWatchMayStoreNothingElse(t *testing.T) {
	s, _ := startWithEvents(t, nil)
	js, err := jetstream.New(watch(t, s, "observer"))
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]jetstream.StreamConfig{
		"a second stream":    {Name: "OTHER", Subjects: []string{"other"}, MaxBytes: 1 << 10},
		"a stream in memory": {Name: "OTHER", Subjects: []string{"other"}, MaxBytes: 1 << 10, Storage: jetstream.MemoryStorage},
	} {
		if _, err := js.CreateStream(deadline(t), cfg); err == nil {
			t.Errorf("%s was made", name)
		}
	}
}

func TestHouseHasNoJetStream(t *testing.T) {
	s, _ := startWithEvents(t, nil)
	js, err := jetstream.New(house(t, s, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	if _, err := js.Stream(ctx, streamName); !errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		t.Errorf("err = %v", err)
	}
}
