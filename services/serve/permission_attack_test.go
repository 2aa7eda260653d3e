// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats.go"
)

// calm compares what is heard with what may be.
type calm struct {
	g                       *guarded
	house, watch, neighbour *spy
	asked                   []string // subjects that someone may say
	seq, theirs             uint64   // of the last fact heard in the house, and by the neighbour
}

func (g *guarded) calm(t *testing.T) *calm {
	t.Helper()
	c := &calm{g: g}
	c.house, c.watch, c.neighbour = g.inside(t)
	return c
}

// always is what the rooms say by themselves.
var always = []string{"blufio.v1.house.pulse", "blufio.v1.gov.read", "blufio.v1.cost.", "blufio.v1.recall.search", "blufio.v1.agent.status", "blufio.v1.recall.status", "blufio.v1.ctl.backup.get", "blufio.v1.msg.delta.", "blufio.v1.msg.send.",
	"blufio.v1.msg.terminal.reply", "blufio.v1.ctl.keys.issue", "blufio.v1.ctl.keys.list"}

// check fails when the rooms or another key have heard what nobody of them said, or what
// was not asked for, and when the stream holds what the relay did not put there.
func (c *calm) check(t *testing.T) {
	t.Helper()
	for _, m := range c.house.heard(t) {
		switch {
		case strings.HasPrefix(m.Subject, "blufio.v1.evt."):
			c.seq = fact(t, "the house", m, c.seq)
		case strings.HasPrefix(m.Subject, "_INBOX."), strings.HasPrefix(m.Subject, "_R_."):
			for name := range m.Header {
				if !slices.Contains([]string{"Status", "Description", "Nats-Service-Error", "Nats-Service-Error-Code"}, name) {
					t.Errorf("the house heard an answer with the header %s", name)
				}
			}
			if m.Reply != "" {
				t.Errorf("the house heard an answer that asks for one on %s", m.Reply)
			}
		case !slices.ContainsFunc(append(slices.Clone(c.asked), always...), func(s string) bool { return strings.HasPrefix(m.Subject, s) }):
			t.Errorf("the house heard %q on %s", m.Data, m.Subject)
		}
	}
	for _, m := range c.neighbour.heard(t) {
		c.theirs = fact(t, "another key", m, c.theirs)
	}
	for _, m := range c.watch.heard(t) {
		if strings.Contains(m.Subject, "PURGE") || strings.Contains(m.Subject, ".STREAM.DELETE") || strings.HasPrefix(m.Subject, "_INBOX.house") {
			t.Errorf("the stream's account heard %q on %s", m.Data, m.Subject)
		}
	}
	c.g.streamIsClean(t)
}

// fact checks that a fact is the relay's, and the one that follows.
func fact(t *testing.T, who string, m *nats.Msg, before uint64) uint64 {
	t.Helper()
	seq, err := strconv.ParseUint(m.Header.Get(bus.HeaderSeq), 10, 64)
	if err != nil || before > 0 && seq != before+1 {
		t.Errorf("%s heard %q %v on %s after fact %d", who, m.Data, m.Header, m.Subject, before)
		return before
	}
	return seq
}

// targets are where an attacker would like an answer to go.
func (c *calm) targets(t *testing.T) []string {
	t.Helper()
	all := []string{"blufio.v1.evt.cost.recorded", "blufio.v1.evt.turn.completed", "blufio.v1.ctl.keys.revoke", "blufio.v1.ctl.status", "blufio.v1.msg.receive", "blufio.v1.msg.send.terminal",
		"blufio.v1.house.pulse", "$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.DELETE.EVENTS", "_INBOX.house.agent.x", "_INBOX.watch.events.x", "_INBOX.operator.x", "_R_.x.y",
		"desk.x.blufio.v1.msg.receive", "slot.1.blufio.v1.tool.weather", "$SYS.REQ.SERVER.PING"}
	for _, l := range c.g.listenedOn(t) {
		if strings.HasPrefix(l.Subject, "_ACK.") || l.Client == "" && strings.HasPrefix(l.Subject, "_INBOX.") { // acknowledgements; a neighbour's inbox
			all = append(all, strings.NewReplacer("*", "x", ">", "x").Replace(l.Subject))
		}
	}
	return all
}

// forging are headers that mean something to the stream, to the relay's readers, to
// whoever awaits an answer, and to the server, which sends a trace where it is told.
func forging(target string) nats.Header {
	header := nats.Header{"Nats-Msg-Id": {"1"}, bus.HeaderSeq: {"1"}, bus.HeaderEpoch: {"x"}, "Nats-Expected-Stream": {"EVENTS"}, "Nats-Rollup": {"all"},
		"Nats-Service-Error": {"forged"}, "Nats-Service-Error-Code": {"internal"}, "Status": {"503"}}
	if target != "" {
		header.Set("Nats-Trace-Dest", target)
	}
	return header
}

// answers has the attacker ask all it may, with answers to every target and with headers
// that forge; it also answers itself. The call that comes last tells when all is done.
func (c *calm) answers(t *testing.T, targets []string, attacker *caller, last string, calls map[string]string) {
	t.Run("answers to "+attacker.name, func(t *testing.T) {
		itself, err := attacker.nc.Subscribe("blufio.v1.msg.x", func(m *nats.Msg) { _ = m.Respond([]byte("forged")) })
		if err != nil {
			t.Fatal(err)
		}
		for subject, data := range calls {
			for _, target := range targets {
				publish(t, attacker.nc, &nats.Msg{Subject: subject, Reply: target, Data: []byte(data)})
				publish(t, attacker.nc, &nats.Msg{Subject: subject, Reply: attacker.inbox + ".x", Data: []byte(data), Header: forging(target)})
			}
		}
		if _, err := attacker.nc.Request(last, nil, patience); err != nil {
			t.Errorf("%s: %v", last, err)
		}
		c.check(t)
		if err := itself.Unsubscribe(); err != nil {
			t.Error(err)
		}
	})
}

// Whoever asks chooses where the answer goes, what headers the question has, and where
// a consumer delivers. Whatever is chosen, a room hears nothing that its asker may not
// say, another key hears nothing, and the stream holds only what the relay put there.
func TestAttacks(t *testing.T) {
	g := guard(t, t.TempDir()+"/data", nil)
	say(t, g.op, "hello")
	holders := map[string]*caller{}
	for _, c := range g.holders(t) {
		holders[c.name] = c
	}
	c := g.calm(t)
	targets := c.targets(t)
	ask := func(who *caller, subject string, data string) *nats.Msg {
		t.Helper()
		m, err := who.nc.Request(subject, []byte(data), patience)
		if err != nil {
			t.Fatalf("%s asks %s: %v", who.name, subject, err)
		}
		return m
	}
	t.Run("delivery", func(t *testing.T) {
		for _, who := range []string{"dashboard", "turns", "watchdog"} {
			attacker := holders[who]
			for _, target := range append(targets, attacker.inbox, attacker.inbox+".>", "*", attacker.inbox+"x.y") {
				for _, name := range []string{"", ".bad", ".bad.blufio.v1.evt.turn.completed"} {
					body := fmt.Sprintf(`{"stream_name":"EVENTS","config":{"name":%q,"filter_subject":"blufio.v1.evt.turn.completed","deliver_subject":%q,"ack_policy":"none"}}`,
						strings.TrimSuffix(strings.TrimPrefix(name, "."), ".blufio.v1.evt.turn.completed"), target)
					if m := ask(attacker, "$JS.API.CONSUMER.CREATE.EVENTS"+name, body); !strings.Contains(string(m.Data), `"error"`) {
						t.Errorf("%s has a consumer deliver to %s: %s", who, target, m.Data)
					}
				}
			}
			c.check(t)
		}
	})
	// Each after those who may less: what was asked for may still arrive a little later.
	c.answers(t, targets, holders["dashboard"], "$JS.API.INFO", map[string]string{
		"$JS.API.INFO": "", "$JS.API.STREAM.NAMES": "", "$JS.API.STREAM.LIST": "", "$JS.API.STREAM.INFO.EVENTS": "", "$JS.API.STREAM.MSG.GET.EVENTS": `{"seq":1}`,
		"$JS.API.DIRECT.GET.EVENTS": `{"seq":1,"batch":10}`, "$JS.API.DIRECT.GET.EVENTS.blufio.v1.evt.turn.completed": "",
		"$JS.API.CONSUMER.CREATE.EVENTS": `{"stream_name":"EVENTS","config":{"ack_policy":"none"}}`, "$JS.API.CONSUMER.INFO.EVENTS.x": "", "$JS.API.CONSUMER.DELETE.EVENTS.x": "",
		"$JS.API.CONSUMER.MSG.NEXT.EVENTS." + holders["dashboard"].consumer(t): `{"batch":5,"no_wait":true}`, "$JS.ACK.EVENTS.x.1.1.1.1.0": "+NXT", "$JS.FC.EVENTS.x.y": ""})
	c.answers(t, targets, holders["turns"], "$JS.API.INFO", map[string]string{
		"$JS.API.STREAM.INFO.EVENTS": "", "$JS.API.CONSUMER.MSG.NEXT.EVENTS." + holders["turns"].consumer(t): `{"batch":5,"no_wait":true}`})
	c.asked = append(c.asked, "blufio.v1.ctl.status")
	c.answers(t, targets, holders["watchdog"], "blufio.v1.ctl.status", map[string]string{"$JS.API.INFO": "", "blufio.v1.ctl.status": "{}"})
	c.asked = append(c.asked, "blufio.v1.msg.receive", "blufio.v1.msg.get")
	c.answers(t, targets, holders["sms"], "blufio.v1.msg.get", map[string]string{
		"blufio.v1.msg.receive": `{"channel":"sms","owner":"+1","text":"/help"}`, "blufio.v1.msg.get": `{"id":"1"}`, "blufio.v1.msg.cancel": `{"id":"1"}`})
	t.Run("responses", func(t *testing.T) {
		c.asked = append(c.asked, "blufio.v1.tool.weather")
		sms, weather := holders["sms"], holders["weather"]
		for _, target := range targets {
			for subject, who := range map[string]*caller{"blufio.v1.msg.send.sms": sms, "blufio.v1.tool.weather": weather} {
				sub, err := who.nc.Subscribe(subject, func(m *nats.Msg) {
					for _, trace := range []string{"blufio.v1.msg.receive", target, ""} { // the server refuses what sends a trace where its sender may not
						reply := &nats.Msg{Subject: m.Reply, Reply: target, Data: []byte(`{"forged":true}`), Header: forging(trace)}
						_, _ = who.nc.PublishMsg(reply), who.nc.PublishMsg(reply) // once more than it may
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				flush(t, who.nc)
				wait := patience
				if strings.HasPrefix(target, "_R_.") {
					wait = 100 * time.Millisecond // the server takes such an answer for its own, and drops it
				}
				if _, err := c.house.nc.Request(subject, []byte("{}"), wait); err != nil && wait == patience && err != nats.ErrNoResponders {
					t.Errorf("%s %s: %v", subject, target, err)
				}
				_ = sub.Unsubscribe()
			}
		}
		c.check(t)
	})
	t.Run("consumers of others", func(t *testing.T) {
		// Whoever knows a consumer's name can read from it.
		victim := holders["dashboard"]
		for _, name := range []string{"dashboard", "c1", "my-reader"} {
			body := fmt.Sprintf(`{"stream_name":"EVENTS","config":{"name":%q,"ack_policy":"explicit"}}`, name)
			m := ask(victim, "$JS.API.CONSUMER.CREATE.EVENTS."+name, body)
			if strings.Contains(string(m.Data), `"error"`) {
				continue // it is told to leave the name to chance
			}
			got, err := holders["turns"].nc.Request("$JS.API.CONSUMER.MSG.NEXT.EVENTS."+name, []byte(`{"batch":1,"no_wait":true}`), time.Second)
			if err == nil && got.Header.Get("Status") == "" {
				t.Errorf("a key for turns reads %s: %s", got.Subject, m.Data)
			}
		}
		c.check(t)
	})
	t.Run("flood", func(t *testing.T) {
		watchdog := holders["watchdog"]
		for n := range 5000 {
			publish(t, watchdog.nc, &nats.Msg{Subject: "blufio.v1.ctl.status", Reply: watchdog.inbox + ".flood." + strconv.Itoa(n), Data: []byte("{}")})
			publish(t, watchdog.nc, &nats.Msg{Subject: "blufio.v1.evt.cost.recorded", Data: []byte("forged")})
		}
		c.asked = append(c.asked, "blufio.v1.recall.search") // by the agent, for the message
		if m := say(t, g.op, "still there?"); m.State != bus.StateAnswered {
			t.Errorf("under a flood: %+v", m)
		}
		bustest.Eventually(t, "the status is told", func() bool {
			_, err := bus.StatusGet.Ask(t.Context(), g.op, bus.StatusQuery{})
			if err != nil && !bus.Retryable(err) { // else it is busy with the flood
				t.Fatal(err)
			}
			return err == nil
		})
		c.check(t)
	})
	c.asked = append(c.asked, "$SRV.", "blufio.v1.msg.", "blufio.v1.ctl.") // where owners may publish themselves
	for _, owner := range []string{"device", "deputy"} {
		c.answers(t, targets, holders[owner], "$SRV.PING", map[string]string{"$SRV.PING": "", "$SRV.INFO": "", "$SRV.STATS": "", "$SRV.PING.blufio-agent": "",
			"blufio.v1.msg.get": `{"id":"1"}`, "blufio.v1.ctl.status": "{}", "blufio.v1.ctl.keys.list": "{}", "blufio.v1.msg.send.sms": "{}", "blufio.v1.msg.x": "itself"})
	}
	var info struct {
		Config struct{ Subjects []string }
	}
	if err := json.Unmarshal(ask(holders["dashboard"], "$JS.API.STREAM.INFO.EVENTS", "").Data, &info); err != nil || !slices.Equal(info.Config.Subjects, []string{bus.Facts}) {
		t.Errorf("the stream is %+v, %v", info, err)
	}
}
