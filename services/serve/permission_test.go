// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats.go"
)

// may is what each holder of a key may do, by subject: p publish, s subscribe. The first
// row whose subject begins like the one in question counts. OWN is the holder's own inbox.
// It is written by hand, from what is meant and not from what the code grants.
var may = []struct{ subject, rights string }{
	//                                         device deputy dashboard turns sms weather watchdog
	{"OWN.", "                                 s      s      s         s     s   s       s"},
	{"blufio.v1.evt.turn.", "                  s      s      s         s     -   -       -"},
	{"blufio.v1.evt.cost.", "                  s      s      s         -     -   -       s"},
	{"blufio.v1.evt.", "                       s      s      s         -     -   -       -"},
	{"blufio.v1.ctl.status", "                 p      p      -         -     -   -       p"},
	{"blufio.v1.ctl.", "                       p      p      -         -     -   -       -"},
	{"blufio.v1.agent.", "                     p      p      -         -     -   -       -"},
	{"blufio.v1.cost.", "                      p      p      -         -     -   -       -"},
	{"blufio.v1.recall.", "                    p      p      -         -     -   -       -"},
	{"blufio.v1.msg.receive", "                ps     ps     -         -     p   -       -"},
	{"blufio.v1.msg.get", "                    ps     ps     -         -     p   -       -"},
	{"blufio.v1.msg.cancel", "                 ps     ps     -         -     p   -       -"},
	{"blufio.v1.msg.send.sms", "               ps     ps     -         -     s   -       -"},
	{"blufio.v1.msg.delta.sms", "              ps     ps     -         -     s   -       -"},
	{"blufio.v1.msg.", "                       ps     ps     -         -     -   -       -"},
	{"blufio.v1.gov.", "                       -      -      -         -     -   -       -"},
	{"blufio.v1.house.", "                     -      -      -         -     -   -       -"},
	{"blufio.v1.tool.weather", "               -      -      -         -     -   s       -"},
	{"blufio.v1.tool.", "                      -      -      -         -     -   -       -"},
	{"$SRV.", "                                p      p      -         -     -   -       -"},
	{"$JS.API.INFO", "                         -      -      p         p     -   -       p"},
	{"$JS.API.STREAM.NAMES", "                 -      -      p         p     -   -       p"},
	{"$JS.API.STREAM.LIST", "                  -      -      p         -     -   -       -"},
	{"$JS.API.STREAM.INFO.EVENTS", "           -      -      p         p     -   -       p"},
	{"$JS.API.STREAM.MSG.GET.EVENTS", "        -      -      p         -     -   -       -"},
	{"$JS.API.DIRECT.GET.EVENTS", "            -      -      p         -     -   -       -"},
	{"$JS.API.CONSUMER.CREATE.EVENTS", "       -      -      p         p     -   -       p"},
	{"$JS.API.CONSUMER.INFO.EVENTS.", "        -      -      p         p     -   -       p"},
	{"$JS.API.CONSUMER.MSG.NEXT.EVENTS.", "    -      -      p         p     -   -       p"},
	{"$JS.API.CONSUMER.DELETE.EVENTS.", "      -      -      p         p     -   -       p"},
	{"$JS.ACK.EVENTS.", "                      -      -      p         p     -   -       p"},
	{"$JS.FC.EVENTS.", "                       -      -      p         p     -   -       p"},
	// Nothing else, for nobody: JetStream, the system, others' inboxes, what crosses accounts.
	{"$JS.", "                                 -      -      -         -     -   -       -"},
	{"$SYS.", "                                -      -      -         -     -   -       -"},
	{"_INBOX.", "                              -      -      -         -     -   -       -"},
	{"_R_.", "                                 -      -      -         -     -   -       -"},
	{"_ACK.", "                                -      -      -         -     -   -       -"},
	{"desk.", "                                -      -      -         -     -   -       -"},
	{"slot.", "                                -      -      -         -     -   -       -"},
	{"elsewhere", "                            -      -      -         -     -   -       -"},
	{"blufio.v1.>", "                          -      -      -         -     -   -       -"},
	{"blufio.v1.*.", "                         -      -      -         -     -   -       -"},
	{"blufio.>", "                             -      -      -         -     -   -       -"},
	{"*", "                                    -      -      -         -     -   -       -"},
	{">", "                                    -      -      -         -     -   -       -"},
}

// allowed looks a holder's right up. A subject that has no row fails the test: someone
// has to decide.
func allowed(t *testing.T, c *caller, column int, right, subject string) bool {
	t.Helper()
	if own, ok := strings.CutPrefix(subject, c.inbox+"."); ok {
		subject = "OWN." + own
	}
	for _, row := range may {
		if strings.HasPrefix(subject, row.subject) {
			return strings.Contains(strings.Fields(row.rights)[column], right)
		}
	}
	t.Errorf("nobody has decided who may do what with %s", subject)
	return false
}

// apiVerbs are those of its API (the vendor's ADR-1, ADR-31 and later), and what
// goes with it.
var apiVerbs = []string{"INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.INFO.EVENTS", "STREAM.CREATE.EVENTS", "STREAM.CREATE.OTHER", "STREAM.UPDATE.EVENTS",
	"STREAM.DELETE.EVENTS", "STREAM.PURGE.EVENTS", "STREAM.SNAPSHOT.EVENTS", "STREAM.RESTORE.EVENTS", "STREAM.MSG.GET.EVENTS", "STREAM.MSG.GET.OTHER",
	"STREAM.MSG.DELETE.EVENTS", "STREAM.PEER.REMOVE.EVENTS", "STREAM.LEADER.STEPDOWN.EVENTS", "DIRECT.GET.EVENTS", "DIRECT.GET.EVENTS.blufio.v1.evt.turn.completed",
	"DIRECT.GET.OTHER", "CONSUMER.CREATE.EVENTS", "CONSUMER.CREATE.EVENTS.x", "CONSUMER.CREATE.EVENTS.x.blufio.v1.evt.cost.recorded", "CONSUMER.CREATE.OTHER",
	"CONSUMER.DURABLE.CREATE.EVENTS.x", "CONSUMER.NAMES.EVENTS", "CONSUMER.LIST.EVENTS", "CONSUMER.INFO.EVENTS.x", "CONSUMER.DELETE.EVENTS.x", "CONSUMER.PAUSE.EVENTS.x",
	"CONSUMER.MSG.NEXT.EVENTS.x", "CONSUMER.UNPIN.EVENTS.x", "CONSUMER.RESET.EVENTS.x", "CONSUMER.LEADER.STEPDOWN.EVENTS.x", "META.LEADER.STEPDOWN", "SERVER.REMOVE",
	"ACCOUNT.PURGE.WATCH", "ACCOUNT.STREAM.MOVE.WATCH.EVENTS", "ACCOUNT.STREAM.CANCEL_MOVE.WATCH.EVENTS"}

// others are what is no subject of a room, but worth a try.
var others = []string{"$JS.ACK.EVENTS.x.1.1.1.1.0", "$JS.ACK.OTHER.x.1.1.1.1.0", "$JS.FC.EVENTS.x.y", "$JS.EVENT.ADVISORY.API", "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO",
	"$SYS.REQ.ACCOUNT.HOUSE.CONNZ", "$SYS.ACCOUNT.HOUSE.CONNECT", "$SYS._INBOX.x", "_INBOX.house.agent.x", "_INBOX.watch.events.x", "_INBOX.operator.x", "_INBOX.edge.desk.x",
	"_R_.x", "desk.x.blufio.v1.msg.receive", "slot.1.blufio.v1.tool.weather", "elsewhere", "blufio.v1.msg.send.other", "blufio.v1.msg.delta.sms", "blufio.v1.msg.delta.other",
	"blufio.v1.tool.other", "blufio.v1.evt.forged"}

// patterns are tried beside the subjects themselves.
var patterns = []string{">", "*", "*.>", "blufio.>", "blufio.v1.>", "blufio.v1.*.*", "blufio.v1.*.>", "blufio.v1.evt.>", "blufio.v1.evt.*.*", "blufio.v1.evt.*.completed",
	"blufio.v1.evt.turn.*", "blufio.v1.evt.turn.>", "blufio.v1.evt.cost.>", "blufio.v1.ctl.>", "blufio.v1.ctl.*", "blufio.v1.ctl.keys.*", "blufio.v1.msg.>", "blufio.v1.msg.*",
	"blufio.v1.msg.send.*", "blufio.v1.msg.delta.*", "blufio.v1.agent.>", "blufio.v1.cost.*", "blufio.v1.tool.*", "blufio.v1.house.>", "$JS.>", "$JS.API.>", "$JS.EVENT.>", "$SYS.>",
	"$SRV.>", "_INBOX.>", "_INBOX.*", "_INBOX.*.>", "_INBOX.house.>", "_INBOX.watch.>", "_INBOX.operator.*", "_R_.>", "_ACK.>", "desk.>", "slot.>"}

// subjects are all that anyone listens on in the running server, those of the contract,
// and others that are worth a try.
func (g *guarded) subjects(t *testing.T) []string {
	t.Helper()
	set := map[string]bool{}
	for _, l := range g.listenedOn(t) {
		set[l.Subject] = true
	}
	for _, l := range bus.Contract() {
		set[strings.Replace(l.Spec().Subject(), "*", "telegram", 1)] = true
	}
	for _, verb := range apiVerbs {
		set["$JS.API."+verb] = true
	}
	for _, s := range others {
		set[s] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// probe is one attempt to publish.
type probe struct {
	who     *caller
	subject string
	allowed bool
}

// Everyone tries to publish to every subject and to listen on it. What is allowed works:
// the message is heard, and a call is answered. What is not is heard by nobody, in no
// account; the client is told, and the owner by an event with the name of the key.
func TestEverySubjectEveryRole(t *testing.T) {
	g := guard(t, t.TempDir()+"/data", nil)
	holders := g.holders(t)
	say(t, g.op, "hello")
	subjects := g.subjects(t)
	house, watch, neighbour := g.inside(t)
	probes, denials := map[string]probe{}, map[string]int64{}
	for column, c := range holders {
		want := g.publishes(t, c, column, subjects, probes)
		denials[c.name] = compareRefusals(t, c, want) + 1
	}
	heardBy(t, probes, house.heard(t), watch.heard(t), neighbour.heard(t))
	listens := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(patterns), subjects...))))
	for column, c := range holders {
		denials[c.name] += g.subscribes(t, c, column, listens, house) + 1
	}
	g.streamIsClean(t)
	g.stop()
	told := map[string]int64{}
	for _, f := range denialsIn(t, g.dir) {
		if f.Where == "bus" && f.Reason == "permission" {
			told[f.Who] += f.Count
		}
	}
	if fmt.Sprint(told) != fmt.Sprint(denials) {
		t.Errorf("events tell of %v, and %v were refused", told, denials)
	}
	t.Logf("%d subjects and %d patterns; refused: %v", len(subjects), len(patterns), denials)
}

// publishes has c try every subject, and returns those that it should be refused.
func (g *guarded) publishes(t *testing.T, c *caller, column int, subjects []string, probes map[string]probe) map[string]bool {
	t.Helper()
	consumer := c.consumer(t)
	answers := make(chan *nats.Msg, 1<<12)
	if _, err := c.nc.ChanSubscribe(c.inbox+".probe.*", answers); err != nil {
		t.Fatal(err)
	}
	refuse, awaited := map[string]bool{}, map[string]string{}
	for _, subject := range subjects {
		subject = strings.NewReplacer("*", "x", ">", "x").Replace(subject)
		ok := allowed(t, c, column, "p", subject)
		if ok && consumer != "" && (strings.Contains(subject, "CONSUMER.INFO") || strings.Contains(subject, "MSG.NEXT")) {
			subject = strings.Replace(subject, "EVENTS.x", "EVENTS."+consumer, 1)
		}
		n := fmt.Sprintf("probe-%d", len(probes))
		probes[n] = probe{c, subject, ok}
		publish(t, c.nc, &nats.Msg{Subject: subject, Reply: c.inbox + ".probe." + n, Data: []byte(`"` + n + `"`)})
		switch {
		case !ok:
			refuse["Publish "+subject] = true
		case answersCome(subject):
			awaited[n] = subject
		}
	}
	c.takeAnswers(t, answers, probes, awaited)
	return refuse
}

// takeAnswers waits for those that are awaited, by number, and fails on others.
func (c *caller) takeAnswers(t *testing.T, answers <-chan *nats.Msg, probes map[string]probe, awaited map[string]string) {
	t.Helper()
	for len(awaited) > 0 {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-time.After(patience):
			t.Errorf("%s: no answer from %v", c.name, slices.Sorted(maps.Values(awaited)))
			return
		}
		n, ok := strings.CutPrefix(m.Subject, c.inbox+".probe.")
		if !ok { // an event from the stream, which keeps its subject
			maps.DeleteFunc(awaited, func(_, subject string) bool { return strings.Contains(subject, ".MSG.NEXT.") })
			continue
		}
		if !probes[n].allowed {
			t.Errorf("%s has an answer from %s: %s", c.name, probes[n].subject, m.Data)
		}
		if m.Header.Get("Status") == "503" && !strings.HasPrefix(probes[n].subject, "blufio.v1.msg.send.") { // two channels are away
			t.Errorf("%s: nobody answers %s", c.name, probes[n].subject)
		}
		delete(awaited, n)
	}
}

// answersCome reports whether someone answers on the subject.
func answersCome(subject string) bool {
	if strings.HasPrefix(subject, "$JS.API.") {
		return true
	}
	return slices.ContainsFunc(bus.Contract(), func(l bus.Lane) bool {
		s := l.Spec()
		return s.Kind == bus.KindCall && s.Subject() == subject
	})
}

// consumer makes one where the holder may, so that there is one to ask for.
func (c *caller) consumer(t *testing.T) string {
	t.Helper()
	filter, ok := map[string]string{"dashboard": "blufio.v1.evt.>", "turns": "blufio.v1.evt.turn.*", "watchdog": "blufio.v1.evt.cost.*"}[c.name]
	if !ok {
		return ""
	}
	m, err := c.nc.Request("$JS.API.CONSUMER.CREATE.EVENTS", []byte(`{"stream_name":"EVENTS","config":{"ack_policy":"explicit","filter_subject":"`+filter+`"}}`), patience)
	if err != nil {
		t.Fatalf("%s makes a consumer: %v", c.name, err)
	}
	_, rest, _ := strings.Cut(string(m.Data), `"name":"`)
	name, _, ok := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("%s makes a consumer: %s", c.name, m.Data)
	}
	return name
}

// compareRefusals checks what the caller was told, and returns how much that was.
func compareRefusals(t *testing.T, c *caller, want map[string]bool) int64 {
	t.Helper()
	got := c.refusals(t)
	for what := range want {
		if !got[what] {
			t.Errorf("%s was not refused: %s", c.name, what)
		}
		delete(got, what)
	}
	if len(got) > 0 {
		t.Errorf("%s was refused %s", c.name, sorted(got))
	}
	return int64(len(want))
}

// heardBy checks who heard which probe.
func heardBy(t *testing.T, probes map[string]probe, house, watch, neighbour []*nats.Msg) {
	t.Helper()
	inHouse := map[string]bool{}
	for _, m := range house {
		n := strings.Trim(string(m.Data), `"`)
		p, ok := probes[n]
		if ok && (!p.allowed || p.subject != m.Subject) {
			t.Errorf("the house heard %s of %s on %s", p.subject, p.who.name, m.Subject)
		}
		inHouse[n] = true
	}
	for n, p := range probes {
		if p.allowed && !strings.HasPrefix(p.subject, "$JS.") && p.who.name != "sms" && !inHouse[n] {
			t.Errorf("the house did not hear %s of %s", p.subject, p.who.name)
		}
	}
	for _, m := range watch {
		if p, ok := probes[strings.Trim(string(m.Data), `"`)]; ok && (!p.allowed || p.subject != m.Subject || !strings.HasPrefix(m.Subject, "$JS.")) {
			t.Errorf("the stream's account heard %s of %s on %s", p.subject, p.who.name, m.Subject)
		}
	}
	for _, m := range neighbour {
		if p, ok := probes[strings.Trim(string(m.Data), `"`)]; ok {
			t.Errorf("another key heard %s of %s on %s", p.subject, p.who.name, m.Subject)
		}
	}
}

// subscribes has c listen on every pattern while a room says something on every
// subject, and returns how many it was refused.
func (g *guarded) subscribes(t *testing.T, c *caller, column int, all []string, room *spy) int64 {
	t.Helper()
	heard := make(chan *nats.Msg, 1<<16)
	want, literal := map[string]bool{}, map[string]string{}
	for i, subject := range all {
		ok := allowed(t, c, column, "s", subject)
		if !ok {
			want["Subscription "+subject] = true
		}
		var err error
		if i%2 == 0 {
			_, err = c.nc.ChanSubscribe(subject, heard)
		} else {
			_, err = c.nc.ChanQueueSubscribe(subject, fmt.Sprintf("group-%d-%d", column, i), heard)
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(subject, "blufio.v1.") && !strings.ContainsAny(subject, "*>") {
			literal[subject] = "said-" + subject
		}
	}
	refused := compareRefusals(t, c, want)
	for subject, text := range literal {
		publish(t, room.nc, &nats.Msg{Subject: subject, Reply: "_INBOX.house.spy.x", Data: []byte(`"` + text + `"`), Header: nats.Header{nats.ExpectedStreamHdr: {"none"}}})
	}
	flush(t, room.nc)
	g.hearsWhatItMay(t, c, column, literal, heard)
	room.heard(t) // its own
	return refused
}

// hearsWhatItMay waits for what c should hear, and fails on what it should not.
func (g *guarded) hearsWhatItMay(t *testing.T, c *caller, column int, literal map[string]string, heard <-chan *nats.Msg) {
	t.Helper()
	missing := map[string]bool{}
	for subject, text := range literal {
		if allowed(t, c, column, "s", subject) {
			missing[text] = true
		}
	}
	take := func(m *nats.Msg) {
		text, said := strings.CutPrefix(strings.Trim(string(m.Data), `"`), "said-")
		switch {
		case !said:
		case !allowed(t, c, column, "s", text):
			t.Errorf("%s heard %s", c.name, text)
		}
		delete(missing, "said-"+text)
	}
	bustest.Eventually(t, c.name+" hears what it may", func() bool {
		for {
			select {
			case m := <-heard:
				take(m)
			default:
				return len(missing) == 0
			}
		}
	})
	flush(t, c.nc)
	for len(heard) > 0 {
		take(<-heard)
	}
}

// streamIsClean fails when the stream holds anything but what the relay put there.
func (g *guarded) streamIsClean(t *testing.T) {
	t.Helper()
	events, err := g.server.Events()
	if err != nil {
		t.Fatal(err)
	}
	stored, err := events.Read(t.Context(), 1, 100_000, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range stored {
		if want := fmt.Sprint(i + 1); m.Header.Get(bus.HeaderSeq) != want || m.Header.Get(bus.HeaderEpoch) == "" {
			t.Errorf("the stream has %s %v: %s, where event %s should be", m.Subject, m.Header, m.Data, want)
		}
	}
	if len(stored) == 0 {
		t.Error("the stream is empty")
	}
}
