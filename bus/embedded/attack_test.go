// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
)

// Whoever asks chooses where the answer goes. From an observer's account no answer
// reaches a room, another key or the stream, also with all permissions there.
func TestAnswersAreNotHeardAsFactsOrCommands(t *testing.T) {
	s, e := startWithEvents(t, nil)
	victim, other := issue(t, s, bus.RoleObserver, "victim")
	k, _ := issue(t, s, bus.RoleObserver, "attacker", calls(bus.StatusGet.Spec().Subject()))
	room := house(t, s, "agent")
	answering(t, room, bus.StatusGet.Spec().Subject())
	mustPublish(t, e, Event{Subject: tick, ID: "a", Data: []byte("stored")})
	before := state(t, e)

	inHouse, inWatch, inOther := listen(t, room, ">"), listen(t, watch(t, s, "spy"), ">"), listen(t, other, eventSubjects)
	inbox := listen(t, other, victim.InboxPrefix()+".>")
	for _, nc := range []*nats.Conn{k.connect(t, s), insideAccount(t, s, k)} {
		for _, target := range []string{"blufio.v1.evt.cost.recorded", "blufio.v1.ctl.keys.revoke", "blufio.v1.msg.receive",
			"$JS.API.STREAM.PURGE.EVENTS", victim.InboxPrefix() + ".x", "_INBOX.watch.events.x", "_INBOX.house.agent.x"} {
			for _, api := range []string{apiInfo, apiStreamInfo, "$JS.API.STREAM.NAMES", "$JS.API.DIRECT.GET.EVENTS." + tick, "$SYS.REQ.USER.INFO"} {
				_ = nc.PublishRequest(api, target, nil)
			}
			_ = nc.PublishRequest("$JS.API.STREAM.MSG.GET.EVENTS", target, []byte(`{"seq":1}`))
			_ = nc.PublishRequest(directGet, target, []byte(`{"seq":1}`))
			_ = nc.Publish(target, []byte("forged"))
		}
	}
	// An answer to the attacker's own call comes after all that.
	for _, nc := range []*nats.Conn{k.connect(t, s), insideAccount(t, s, k)} {
		if _, err := nc.RequestWithContext(deadline(t), apiStreamInfo, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []*nats.Subscription{inHouse, inWatch, inOther, inbox} {
		for n, _, _ := sub.Pending(); n > 0; n, _, _ = sub.Pending() {
			m := next(t, sub)
			crossing := sub == inWatch && (strings.HasPrefix(m.Subject, "$JS.") || strings.HasPrefix(m.Subject, "_R_."))
			if !crossing || strings.Contains(m.Subject, "PURGE") {
				t.Errorf("%s heard %q on %s", sub.Subject, m.Data, m.Subject)
			}
		}
	}
	if got := state(t, e); got != before {
		t.Errorf("the stream was %+v and is %+v", before, got)
	}
}

// A consumer delivers to any subject of the stream's account, and with headers_only
// even a purge would be well formed. The desk lets none through but to one's own inbox.
func TestConsumerDeliversToOwnInboxOnly(t *testing.T) {
	s, e := startWithEvents(t, nil)
	victim, other := issue(t, s, bus.RoleObserver, "victim")
	k, nc := issue(t, s, bus.RoleObserver, "attacker")
	mustPublish(t, e, Event{Subject: tick, ID: "a", Data: []byte("stored")})
	before := state(t, e)
	inbox := listen(t, other, victim.InboxPrefix()+".>")
	for _, nc := range []*nats.Conn{nc, insideAccount(t, s, k)} {
		for _, target := range []string{"$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.DELETE.EVENTS", victim.InboxPrefix() + ".x",
			"_INBOX.watch.events.x", e.acks.prefix + ".x", "blufio.v1.evt.cost.recorded", "desk.x.y", "*", k.InboxPrefix(), k.InboxPrefix() + ".>", k.InboxPrefix() + "x.y"} {
			for api, body := range map[string]string{
				"$JS.API.CONSUMER.CREATE.EVENTS":             `{"stream_name":"EVENTS","config":{"deliver_subject":"%","ack_policy":"none","headers_only":true}}`,
				"$JS.API.CONSUMER.CREATE.EVENTS.bad":         `{"stream_name":"EVENTS","config":{"name":"bad","deliver_subject":"%","ack_policy":"none","headers_only":true}}`,
				"$JS.API.CONSUMER.CREATE.EVENTS.bad." + tick: `{"stream_name":"EVENTS","config":{"name":"bad","filter_subject":"` + tick + `","deliver_subject":"%","ack_policy":"none"}}`,
				"$JS.API.CONSUMER.CREATE.EVENTS.twice":       `{"stream_name":"EVENTS","config":{"name":"twice","deliver_subject":"` + k.InboxPrefix() + `.x","Deliver_Subject":"%","ack_policy":"none"}}`,
			} {
				m, err := nc.RequestWithContext(deadline(t), api, []byte(strings.ReplaceAll(body, "%", target)))
				if err != nil {
					t.Fatal(err)
				}
				var answer struct{ Error *jetstream.APIError }
				if err := json.Unmarshal(m.Data, &answer); err != nil || answer.Error == nil {
					t.Errorf("%s to %s: %s", api, target, m.Data)
				}
			}
		}
		for name, body := range map[string]string{
			"durable": `{"stream_name":"EVENTS","config":{"durable_name":"d","ack_policy":"explicit"}}`,
			"sampled": `{"stream_name":"EVENTS","config":{"ack_policy":"explicit","sample_freq":"100"}}`,
			"other":   `{"stream_name":"OTHER","config":{"ack_policy":"explicit"}}`,
			"no JSON": `stored`,
		} {
			if m, err := nc.RequestWithContext(deadline(t), "$JS.API.CONSUMER.CREATE.EVENTS", []byte(body)); err != nil || !strings.Contains(string(m.Data), `"error"`) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, api := range []string{"STREAM.PURGE.EVENTS", "STREAM.DELETE.EVENTS", "STREAM.UPDATE.EVENTS", "STREAM.CREATE.OTHER", "STREAM.MSG.DELETE.EVENTS",
			"STREAM.SNAPSHOT.EVENTS", "CONSUMER.DURABLE.CREATE.EVENTS.d", "CONSUMER.NAMES.EVENTS", "CONSUMER.LIST.EVENTS", "CONSUMER.PAUSE.EVENTS.x", "META.LEADER.STEPDOWN"} {
			_ = nc.Publish("$JS.API."+api, nil)
		}
		flush(t, nc)
	}
	if n, _, _ := inbox.Pending(); n > 0 {
		t.Errorf("the victim heard %d messages", n)
	}
	if got := state(t, e); got != before {
		t.Errorf("the stream was %+v and is %+v", before, got)
	}
	if info, err := e.stream.Load().Info(deadline(t)); err != nil || info.State.Consumers != 0 {
		t.Errorf("%d consumers were made, %v", info.State.Consumers, err)
	}
}

// Whoever is in a key's account with all permissions hears nothing of the house or of
// other keys but what the key may.
func TestAccountHearsNoMore(t *testing.T) {
	s, e := startWithEvents(t, nil)
	for _, role := range []string{bus.RoleObserver, bus.RoleChannel, bus.RoleTool} {
		k, _ := issue(t, s, role, "one-"+role, hears("blufio.v1.evt.turn.*"))
		all := listen(t, insideAccount(t, s, k), ">")
		mustPublish(t, e, Event{Subject: tick, ID: role, Data: []byte("private")})
		room := house(t, s, "agent")
		for _, subject := range []string{"blufio.v1.msg.receive", "blufio.v1.msg.delta.gateway", "blufio.v1.ctl.status", "blufio.v1.tool.other", "blufio.v1.house.pulse", "_INBOX.house.x"} {
			if err := room.PublishRequest(subject, "_INBOX.house.agent.y", []byte("private")); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, room)
		mustPublish(t, e, Event{Subject: "blufio.v1.evt.turn.failed", ID: role + "2", Data: []byte("marker")})
		if m := next(t, all); string(m.Data) != "marker" {
			t.Errorf("%s heard %q on %s", role, m.Data, m.Subject)
		}
	}
}

// A tool is asked by the house and answers; what else it says, and where else the
// answer should go, nobody hears.
func TestToolAnswers(t *testing.T) {
	s := start(t, nil)
	k, nc := issue(t, s, bus.RoleTool, "weather")
	room := house(t, s, "agent")
	if _, err := room.RequestWithContext(deadline(t), "blufio.v1.tool.weather", nil); err != nats.ErrNoResponders {
		t.Errorf("nobody answers yet: %v", err)
	}
	answering(t, nc, "blufio.v1.tool.weather")
	if m, err := room.RequestWithContext(deadline(t), "blufio.v1.tool.weather", nil); err != nil || string(m.Data) != "blufio.v1.tool.weather" {
		t.Errorf("ask: %v", err)
	}
	all := listen(t, house(t, s, "spy"), ">")
	for _, nc := range []*nats.Conn{nc, insideAccount(t, s, k)} {
		for _, subject := range []string{"blufio.v1.tool.weather", "blufio.v1.tool.other", "blufio.v1.evt.cost.recorded", "blufio.v1.msg.receive", "blufio.v1.ctl.keys.revoke", "slot.1.x", "desk.x.y"} {
			_ = nc.PublishRequest(subject, "blufio.v1.evt.cost.recorded", []byte("forged"))
		}
		flush(t, nc)
	}
	// The room asks with a reply subject that is no inbox: it is not passed on.
	if err := room.PublishRequest("blufio.v1.tool.weather", "blufio.v1.evt.cost.recorded", nil); err != nil {
		t.Fatal(err)
	}
	next(t, all)
	if _, err := room.RequestWithContext(deadline(t), "blufio.v1.tool.weather", nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if m := next(t, all); m.Subject != "blufio.v1.tool.weather" && !bus.IsInbox(m.Subject) {
			t.Errorf("heard %s", m.Subject)
		}
	}
	if n, _, _ := all.Pending(); n > 0 {
		t.Errorf("%d more were heard", n)
	}
}

// A channel hands in messages of its own name, and takes replies for it.
func TestChannelSpeaksForItself(t *testing.T) {
	s := start(t, nil)
	agent := onBus(t, house(t, s, "agent"), bus.MessageSend, bus.MessageDelta)
	var channel atomic.Value
	var canceled atomic.Int64
	record := func() bus.MessageRecord { return bus.MessageRecord{ID: "7", Channel: channel.Load().(string)} }
	err := agent.Handle(t.Context(),
		bus.MessageReceive.Answer(func(_ ctx, m bus.Message) (bus.Accepted, error) { return bus.Accepted{ID: m.Channel + m.Text}, nil }),
		bus.MessageGet.Answer(func(ctx, bus.MessageQuery) (bus.MessageRecord, error) { return record(), nil }),
		bus.MessageCancel.Answer(func(ctx, bus.MessageQuery) (bus.MessageRecord, error) {
			canceled.Add(1)
			return record(), nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	k, nc := issue(t, s, bus.RoleChannel, "sms")
	c := onBus(t, nc, bus.MessageReceive, bus.MessageGet, bus.MessageCancel, bus.StatusGet)
	inside := onBus(t, insideAccount(t, s, k), bus.MessageReceive, bus.MessageGet, bus.MessageCancel)

	if acc, err := bus.MessageReceive.Ask(t.Context(), c, bus.Message{Channel: "sms", Text: "!"}); err != nil || acc.ID != "sms!" {
		t.Errorf("hand in: %+v, %v", acc, err)
	}
	before := s.Stats().Denials
	for _, c := range []*bus.Conn{c, inside} {
		if _, err := bus.MessageReceive.Ask(t.Context(), c, bus.Message{Channel: "telegram"}); bus.CodeOf(err) != bus.CodeDenied {
			t.Errorf("under another name: %v", err)
		}
	}
	if n := s.Stats().Denials - before; n != 2 {
		t.Errorf("%d denials were counted", n)
	}
	m, err := nc.RequestWithContext(deadline(t), "blufio.v1.msg.receive", []byte(`{"channel":"telegram","Channel":"sms","text":"?"}`))
	if err != nil || !strings.Contains(string(m.Data), "sms?") {
		t.Errorf("two names: %s, %v", m.Data, err)
	}
	for name, want := range map[string]bus.Code{"sms": "", "telegram": bus.CodeNotFound} {
		channel.Store(name)
		_, err := bus.MessageGet.Ask(t.Context(), c, bus.MessageQuery{ID: "7"})
		if bus.CodeOf(err) != want {
			t.Errorf("get of %s: %v", name, err)
		}
		if _, err := bus.MessageCancel.Ask(t.Context(), c, bus.MessageQuery{ID: "7"}); bus.CodeOf(err) != want {
			t.Errorf("cancel of %s: %v", name, err)
		}
	}
	if n := canceled.Load(); n != 1 {
		t.Errorf("%d were canceled", n)
	}
	if _, err := bus.StatusGet.Ask(t.Context(), c, bus.StatusQuery{}); bus.CodeOf(err) != bus.CodeDenied {
		t.Errorf("another call: %v", err)
	}

	delta := listen(t, nc, "blufio.v1.msg.delta.sms")
	err = c.Handle(t.Context(), bus.MessageSend.To("sms").Answer(func(_ ctx, r bus.Reply) (bus.Receipt, error) {
		if r.Text == "bad" {
			return bus.Receipt{}, bus.Errorf(bus.CodeBusy, "later").WithHint("wait")
		}
		return bus.Receipt{}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.MessageDelta.To("sms").Publish(agent, bus.Delta{}); err != nil {
		t.Fatal(err)
	}
	next(t, delta)
	if _, err := bus.MessageSend.To("sms").Ask(t.Context(), agent, bus.Reply{Text: "good"}); err != nil {
		t.Errorf("deliver: %v", err)
	}
	if _, err := bus.MessageSend.To("sms").Ask(t.Context(), agent, bus.Reply{Text: "bad"}); bus.CodeOf(err) != bus.CodeBusy || err.(*bus.Error).Hint != "wait" {
		t.Errorf("refused delivery: %v", err)
	}
}

type ctx = context.Context

// Replays have a bound of their own, a replay that ended makes room, and the gauge tells
// how many there are.
func TestReplaysAreBounded(t *testing.T) {
	s, e := startWithEvents(t, nil)
	mustPublish(t, e, Event{Subject: tick, ID: "a", Data: []byte("stored")})
	begin := func(n int) error {
		_, err := e.js.CreateConsumer(deadline(t), streamName, jetstream.ConsumerConfig{Name: fmt.Sprint("c", n), InactiveThreshold: maxIdle})
		return err
	}
	for n := range maxConsumers {
		if err := begin(n); err != nil {
			t.Fatalf("replay %d: %v", n, err)
		}
	}
	if err := begin(maxConsumers); err == nil {
		t.Error("one more was begun")
	}
	if st := s.Stats(); st.Replays != maxConsumers || st.MaxReplays != maxConsumers {
		t.Errorf("%d of %d replays", st.Replays, st.MaxReplays)
	}
	if err := e.js.DeleteConsumer(deadline(t), streamName, "c0"); err != nil {
		t.Fatal(err)
	}
	if err := begin(maxConsumers); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

// One key leaves the others their share of replays, and of the desk.
func TestDeskIsShared(t *testing.T) {
	s, e := startWithEvents(t, nil)
	mustPublish(t, e, Event{Subject: tick, ID: "a", Data: []byte("stored")})
	_, nc := issue(t, s, bus.RoleObserver, "greedy")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for range keyReplays {
		c, err := js.CreateConsumer(deadline(t), streamName, jetstream.ConsumerConfig{InactiveThreshold: maxIdle * 2})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.CachedInfo().Config.InactiveThreshold; got != maxIdle {
			t.Errorf("it stays for %s", got)
		}
		names = append(names, c.CachedInfo().Name)
	}
	if _, err := js.CreateConsumer(deadline(t), streamName, jetstream.ConsumerConfig{}); err == nil {
		t.Error("one more was made")
	}
	_, other := issue(t, s, bus.RoleObserver, "modest")
	if got := replayed(t, other, 1, jetstream.OrderedConsumerConfig{}); got[0] != "stored" {
		t.Errorf("another key reads %v", got)
	}
	if err := js.DeleteConsumer(deadline(t), streamName, names[3]); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(deadline(t), streamName, jetstream.ConsumerConfig{}); err != nil {
		t.Errorf("after one is gone: %v", err)
	}
}

func TestToolIsAskedSoMuchAtOnce(t *testing.T) {
	s := start(t, nil)
	_, nc := issue(t, s, bus.RoleTool, "slow")
	asked, free := make(chan struct{}, keyWork), make(chan struct{})
	_, err := nc.Subscribe("blufio.v1.tool.slow", func(m *nats.Msg) {
		asked <- struct{}{}
		go func() { <-free; _ = m.Respond(nil) }()
	})
	if err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
	room := house(t, s, "agent")
	answers := listen(t, room, room.NewInbox()+".>")
	reply := strings.TrimSuffix(answers.Subject, ">")
	ask := func(n string) {
		if err := room.PublishRequest("blufio.v1.tool.slow", reply+n, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range keyWork {
		ask("x")
	}
	for range keyWork {
		<-asked
	}
	if st := s.Stats(); st.KeyCalls != keyWork || st.MaxKeyCalls != keyWork {
		t.Errorf("%d calls of %d are under way", st.KeyCalls, st.MaxKeyCalls)
	}
	ask("more")
	if m := next(t, answers); m.Subject != reply+"more" || m.Header.Get(micro.ErrorCodeHeader) != string(bus.CodeBusy) {
		t.Errorf("one more: %s %v", m.Subject, m.Header)
	}
	close(free)
	for range keyWork {
		next(t, answers)
	}
}

// A key that asks faster than it is answered is shut out for a while, before it fills
// the memory; nobody else is.
func TestFloodOfQuestionsIsEnded(t *testing.T) {
	var ahead atomic.Int64
	s := start(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	room := house(t, s, "agent")
	if _, err := room.Subscribe(bus.StatusGet.Spec().Subject(), func(*nats.Msg) {}); err != nil { // it never answers
		t.Fatal(err)
	}
	flush(t, room)
	k := newKey(t, bus.RoleObserver, "flood", calls(bus.StatusGet.Spec().Subject()))
	if err := s.AddKey(k.Key); err != nil {
		t.Fatal(err)
	}
	_, modest := issue(t, s, bus.RoleObserver, "modest", calls(bus.StatusGet.Spec().Subject()))
	flood := k.connect(t, s, nats.NoReconnect())
	listen(t, flood, k.InboxPrefix()+".x.*")
	for n := 0; flood.IsConnected(); n++ {
		if n > 10_000_000 {
			t.Fatal("nobody stops it")
		}
		_ = flood.PublishRequest(bus.StatusGet.Spec().Subject(), k.InboxPrefix()+".x."+strconv.Itoa(n), nil)
	}
	if nc, err := k.dial(s); err == nil {
		nc.Close()
		t.Error("it is let in again at once")
	}
	if st := s.Stats(); st.LimitErrors != 1 || st.Awaited == 0 || st.MaxAwaited != maxAwaited {
		t.Errorf("counted %d, with %d of %d awaited", st.LimitErrors, st.Awaited, st.MaxAwaited)
	}
	if flush(t, modest); modest.Stats().Reconnects > 0 {
		t.Error("the other key was cut off")
	}
	ahead.Store(int64(floodPause))
	k.connect(t, s)
}

// So is one that makes a new connection for every few questions.
func TestFloodOverManyConnectionsIsEnded(t *testing.T) {
	s := start(t, nil)
	room := house(t, s, "agent")
	if _, err := room.Subscribe(bus.StatusGet.Spec().Subject(), func(*nats.Msg) {}); err != nil { // it never answers
		t.Fatal(err)
	}
	flush(t, room)
	k := newKey(t, bus.RoleObserver, "flood", calls(bus.StatusGet.Spec().Subject()))
	if err := s.AddKey(k.Key); err != nil {
		t.Fatal(err)
	}
	const each = floodCount - 100
	for n := 0; ; {
		nc, err := k.dial(s, nats.NoReconnect())
		if err != nil {
			break
		}
		for range each {
			n++
			_ = nc.PublishRequest(bus.StatusGet.Spec().Subject(), k.InboxPrefix()+".x."+strconv.Itoa(n), nil)
		}
		_ = nc.FlushTimeout(patience)
		if nc.Close(); n > 200_000 {
			t.Fatal("nobody stops it")
		}
	}
	if n := s.Stats().LimitErrors; n != 1 {
		t.Errorf("counted %d", n)
	}
}
