// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func doorOf(s any) services.Door { return s.(services.Service).Door() }

// small is a daemon whose own event stream holds little.
func small(mb int) option { return func(c *embedded.Config, _ *Service) { c.EventsMB = mb } }

// Events reach the hub's stream, each once and in order, also those that were
// recorded while the hub was away or the daemon's room did not run.
func TestEventsReachTheHub(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "hub")
	s := o.stream(nil)
	d := o.join("kitchen")
	d.record(10, 1)
	bustest.Eventually(t, "ten are there", func() bool { return len(held(t, s, "kitchen")) == 10 })
	for round := range 2 {
		last := 10 + round*200
		d.record(50, 1)
		o.stop()
		d.record(100, 1)
		bustest.Eventually(t, "the hub is missed", func() bool { return d.problem() == "hub_away" })
		o.start()
		d.record(50, 1)
		s = o.stream(nil)
		bustest.Eventually(t, "all are there", func() bool { return len(held(t, s, "kitchen")) >= last+200 })
	}
	d.stop()
	inOrder(t, held(t, s, "kitchen"), 1, 410)
	d.record(5, 1)
	d.start(o)
	bustest.Eventually(t, "what was recorded meanwhile too", func() bool { return len(held(t, s, "kitchen")) >= 415 })
	inOrder(t, held(t, s, "kitchen"), 1, 415)
	if d.room.behind() != 0 || d.problem() != "" {
		t.Errorf("behind %d, problem %q", d.room.behind(), d.problem())
	}
}

// An acknowledgement that was lost longer ago than the stream remembers ids leads
// to no duplicate: the stream is asked.
func TestForgottenIdsAreNotStoredTwice(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "hub")
	s := o.stream(func(c *jetstream.StreamConfig) { c.Duplicates = 100 * time.Millisecond })
	d := o.join("kitchen")
	d.record(20, 1)
	bustest.Eventually(t, "twenty are there", func() bool { return len(held(t, s, "kitchen")) == 20 })
	d.stop()
	// As after a crash: the cursor lags behind.
	lag, _, err := loadCursor(t.Context(), d.store)
	o.check(err)
	lag.seq = 5
	o.check(d.store.Write(t.Context(), lag.write))
	probe := func() bool { // once the stream takes an old id as new it has forgotten them
		js, err := jetstream.New(o.connect())
		o.check(err)
		ack, err := js.Publish(t.Context(), bus.NodeSubject("probe", "evt.x"), nil, jetstream.WithMsgID("probe"))
		o.check(err)
		return !ack.Duplicate
	}
	probe()
	bustest.Eventually(t, "ids are forgotten", probe)
	d.start(o)
	d.record(1, 1)
	bustest.Eventually(t, "the new one is there", func() bool { return len(held(t, s, "kitchen")) >= 21 })
	inOrder(t, held(t, s, "kitchen"), 1, 21)
}

// What the daemon's own stream no longer holds is one gap, in its place.
func TestGap(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "hub")
	s := o.stream(nil)
	d := o.join("kitchen", small(1))
	d.record(2, 1)
	bustest.Eventually(t, "two are there", func() bool { return len(held(t, s, "kitchen")) == 2 })
	o.stop()
	d.record(30, 100<<10)
	bustest.Eventually(t, "the stream has come to the end", func() bool { return d.room.newest.Load() == 32 })
	o.start()
	s = o.stream(nil)
	var msgs []*jetstream.RawStreamMsg
	bustest.Eventually(t, "the last is there", func() bool {
		msgs = held(t, s, "kitchen")
		return msgs[len(msgs)-1].Header.Get(bus.HeaderSeq) == "32"
	})
	gap := msgs[2]
	var fact bus.GapFact
	if err := json.Unmarshal(gap.Data, &fact); err != nil || !strings.HasSuffix(gap.Subject, "evt.stream.gap") || fact.From != 3 || fact.To < 10 || fact.Why == "" {
		t.Fatalf("%s %s, %v", gap.Subject, gap.Data, err)
	}
	inOrder(t, msgs[3:], fact.To+1, 32)
	bustest.Eventually(t, "they are counted as lost", func() bool { return counted(t, d, "blufio_hub_lost_total") == float64(fact.To-fact.From+1) })
}

// A hub without a stream is told of, with the command that makes one, and nothing
// is lost meanwhile. So is a stream that refuses.
func TestHubWithoutAStream(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "")
	d := o.join("kitchen")
	d.record(3, 1)
	bustest.Eventually(t, "the stream is missed", func() bool { return d.problem() == "hub_stream" })
	if p := d.room.health()[0]; !strings.Contains(p.Hint, "nats stream add BLUFIO --subjects 'blufio.node.*.v1.evt.>'") {
		t.Errorf("%+v", p)
	}
	s := o.stream(func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 2, jetstream.DiscardNew })
	bustest.Eventually(t, "the refusal is told", func() bool {
		p := d.room.health()
		return len(p) == 1 && strings.Contains(p[0].Title, "maximum messages exceeded")
	})
	s = o.stream(func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew })
	bustest.Eventually(t, "all are there", func() bool { return len(held(t, s, "kitchen")) == 3 })
	inOrder(t, held(t, s, "kitchen"), 1, 3)
	bustest.Eventually(t, "all is well", func() bool { return d.problem() == "" })
}

// An event that the hub's stream will never take does not hold up the others. The
// gap in its place may come behind those that were on their way with it.
func TestEventTooLargeForTheHub(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "")
	s := o.stream(func(c *jetstream.StreamConfig) { c.MaxMsgSize = 2000 })
	d := o.join("kitchen")
	d.record(1, 1)
	d.record(1, 3000)
	d.record(1, 1)
	bustest.Eventually(t, "the last is there", func() bool { return len(held(t, s, "kitchen")) == 3 })
	gaps := 0
	for _, m := range held(t, s, "kitchen") {
		if strings.Contains(string(m.Data), `"from":2,"to":2`) && m.Header.Get(bus.HeaderSeq) == "2" {
			gaps++
		}
	}
	if gaps != 1 {
		t.Errorf("%d gaps", gaps)
	}
	bustest.Eventually(t, "one is counted as lost", func() bool { return counted(t, d, "blufio_hub_lost_total") == 1 })
}

// Two daemons of one name hear of each other: neither sends events nor answers
// until one of them has gone.
func TestTwoOfOneName(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "hub")
	s := o.stream(nil)
	a := o.join("kitchen")
	a.record(1, 1)
	bustest.Eventually(t, "the first is there", func() bool { return len(held(t, s, "kitchen")) == 1 })
	b := o.join("kitchen")
	b.record(1, 1)
	bustest.Eventually(t, "both know", func() bool { return a.problem() == "hub_name" && b.problem() == "hub_name" })
	nc := o.connect()
	m, err := nc.Request(bus.NodeSubject("kitchen", "ctl.status"), nil, 5*time.Second)
	if err != nil || bus.CodeOf(bus.ReplyError(m)) != bus.CodeConflict {
		t.Errorf("%v, %v", m, err)
	}
	if n, err := bus.NodeList.Ask(t.Context(), a.cli, bus.NodesQuery{}); err != nil || len(n.Nodes) != 2 || n.Nodes[0].ID == n.Nodes[1].ID {
		t.Errorf("%+v, %v", n, err)
	}
	if got := held(t, s, "kitchen"); len(got) != 1 {
		t.Errorf("%d events", len(got))
	}
	a.stop()
	bustest.Eventually(t, "the other one is alone", func() bool { return b.problem() == "" && len(held(t, s, "kitchen")) == 2 })
	msgs := held(t, s, "kitchen")
	if msgs[0].Header.Get(bus.HeaderEpoch) == msgs[1].Header.Get(bus.HeaderEpoch) {
		t.Error("one epoch for two databases")
	}
}

// counted reads a counter of the room.
func counted(t *testing.T, d *daemon, name string) float64 {
	t.Helper()
	return meter(t, d.room, name)
}

// What the owner of a hub reads is what the room says.
func TestStreamCommandIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../../contrib/hub/README.md")
	if err != nil || !strings.Contains(string(data), StreamCommand+"\n") {
		t.Errorf("contrib/hub/README.md lacks %s (%v)", StreamCommand, err)
	}
}

// What is on its way is bounded: in number, in bytes, and to one until the stream
// has answered or while it is late.
func TestWindow(t *testing.T) {
	t.Parallel()
	flight := func(n, size int, age time.Duration) (all []*parcel) {
		for range n {
			all = append(all, &parcel{msg: &nats.Msg{Data: make([]byte, size)}, sent: time.Now().Add(-age)})
		}
		return all
	}
	for name, tt := range map[string]struct {
		flight []*parcel
		open   bool
		next   int
		want   bool
	}{
		"the first":              {nil, false, 2 << 20, true},
		"one more, unanswered":   {flight(1, 1, 0), false, 1, false},
		"one more":               {flight(1, 1, 0), true, 1, true},
		"the last":               {flight(window-1, 1, 0), true, 1, true},
		"one too many":           {flight(window, 1, 0), true, 1, false},
		"the bytes fill":         {flight(3, 300<<10, 0), true, windowBytes - 900<<10, true},
		"a byte too many":        {flight(3, 300<<10, 0), true, windowBytes - 900<<10 + 1, false},
		"behind one that is old": {flight(2, 1, time.Minute), true, 1, false},
	} {
		c := &carrier{s: &Service{bounds: defaults}, flight: tt.flight, open: tt.open}
		if got := c.may(&parcel{msg: &nats.Msg{Data: make([]byte, tt.next)}}); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	// With a real stream: never more than the window.
	o := newOutside(t, "")
	d := o.join("kitchen")
	d.record(300, 20<<10)
	most := int64(0)
	o.stream(nil)
	bustest.Eventually(t, "all are there", func() bool {
		most = max(most, d.room.flying.Load())
		return d.room.cursor.Load() == 300
	})
	if most > window {
		t.Errorf("%d were on their way", most)
	}
}
