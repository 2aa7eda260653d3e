// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats.go"
)

// What a stream that is cut off says: from where it misses what, whose fault it is, and
// with which id to come back.
func TestCutOff(t *testing.T) {
	began := func(f *feed) {
		f.note(heard{}, 0)
		f.note(heard{position: 890, epoch: "e"}, 0)
		f.note(heard{position: 900, epoch: "e"}, 0)
	}
	for name, tt := range map[string]struct {
		feed   func(*feed)
		events events
		want   string
	}{
		"nothing was told":          {began, events{}, "id: e-889 890-900 " + tooSlow},
		"the daemon was late":       {func(f *feed) { began(f); f.end(true) }, events{}, "id: e-889 890-900 " + tooLate},
		"it was the client first":   {func(f *feed) { began(f); f.end(false); f.end(true) }, events{}, "id: e-889 890-900 " + tooSlow},
		"a hole before the first":   {func(f *feed) { f.note(heard{position: 7, epoch: "e"}, 2) }, events{}, "id: e-4 5-7 " + tooSlow},
		"it begins with the log":    {func(f *feed) { f.note(heard{position: 1}, 9) }, events{}, "id: 0 1-1 " + tooSlow},
		"nothing has a position":    {func(f *feed) { f.note(heard{}, 1) }, events{}, "0-0 " + tooSlow},
		"told up to 895":            {began, events{positioned: true, epoch: "e", last: 895}, "id: e-895 896-900 " + tooSlow},
		"a position of any log":     {began, events{positioned: true, epoch: "e", last: 950, foreign: 950}, "951-951 " + tooSlow},
		"nothing is behind the end": {func(*feed) {}, events{positioned: true, epoch: "e", last: 9}, "id: e-9 10-10 " + tooSlow},
	} {
		t.Run(name, func(t *testing.T) {
			w, f := httptest.NewRecorder(), &feed{overrun: make(chan struct{})}
			tt.feed(f)
			e := tt.events
			e.front, e.feed, e.out = &front{Service: &Service{}}, f, &sse{w: w, limit: time.Second}
			if err := e.cutOff(); err != nil {
				t.Fatal(err)
			}
			head, data, _ := strings.Cut(w.Body.String(), "event: gap\ndata: ")
			var g gapBody
			if err := json.Unmarshal([]byte(data), &g); err != nil {
				t.Fatalf("%v: %q", err, w.Body)
			}
			if got := strings.ReplaceAll(head, "\n", " ") + fmt.Sprintf("%d-%d %s", g.From, g.To, g.Why); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// A client that does not read is cut off, and not by holding up others.
func TestSlowEventsClient(t *testing.T) {
	r := start(t, func(c *Config) { c.WriteTimeout = 10 * time.Second })
	s := newStream(t, r)
	slow := r.watch("/v1/events")
	quick := r.watch("/v1/events")
	payload := `{"x":"` + strings.Repeat("x", 64<<10) + `"}`
	var n int64
	for len(r.service.streams) == 2 { // the kernel's buffers are of unknown size
		n++
		m := &nats.Msg{Subject: bus.Prefix + nameOf(n), Data: []byte(payload), Header: nats.Header{bus.HeaderSeq: {strconv.FormatInt(n, 10)}}}
		if err := s.conn.NATS().PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		if got := quick.until(func(ev event) bool { return ev.id != "" }).id; got != strconv.FormatInt(n, 10) {
			t.Fatalf("the quick client got %s, want %d", got, n)
		}
		if n > 200 {
			break // it is cut off as soon as its write goes on
		}
	}
	last, id := int64(0), ""
	for {
		ev, ok := slow.next()
		if !ok {
			t.Fatal("the stream ended without a word")
		}
		if ev.name == "gap" {
			var g gapBody
			if err := json.Unmarshal([]byte(ev.data), &g); err != nil || g.From != last+1 || g.To < g.From || !strings.Contains(g.Why, "too slow") {
				t.Errorf("behind %d: %s %v", last, ev.data, err)
			}
			id = ev.id
			break
		}
		if ev.id != "" {
			if last++; ev.id != strconv.FormatInt(last, 10) {
				t.Fatalf("event %s behind %d", ev.id, last-1)
			}
		}
	}
	if _, ok := slow.next(); ok {
		t.Error("it goes on behind the gap")
	}
	for p := range n {
		s.keep(p + 1)
	}
	again := r.watch("/v1/events", "Last-Event-ID", id)
	for last++; last <= n; last++ {
		again.expect(strconv.FormatInt(last, 10))
	}
}

// drop lets facts of these positions find no room with f, and waits until they are gone.
func (s *stream) drop(f *feed, positions ...int64) {
	s.t.Helper()
	limit := func(bytes int) {
		s.t.Helper()
		if err := f.sub.SetPendingLimits(-1, bytes); err != nil {
			s.t.Fatal(err)
		}
	}
	limit(1) // too little for any
	s.say(positions...)
	bustest.Eventually(s.t, "they are dropped", func() bool {
		n, err := f.sub.Dropped()
		return err == nil && n == len(positions)
	})
	limit(-1)
}

// onlyFeed is that of the one stream that is open.
func (r *rig) onlyFeed() (f *feed) {
	r.t.Helper()
	r.service.feeds.mu.Lock()
	defer r.service.feeds.mu.Unlock()
	for f = range r.service.feeds.open {
	}
	if f == nil || len(r.service.feeds.open) != 1 {
		r.t.Fatalf("%d streams are open", len(r.service.feeds.open))
	}
	return f
}

// A stream that ended because the daemon could not keep up is opened again with the
// last id that came, as a browser does it, and nothing is missing or told twice.
func TestEventsAfterAHole(t *testing.T) {
	for name, tt := range map[string]struct {
		query         string
		said, dropped []int64
		gap, id       string
		told, again   []string // before the end, and when it is opened again; 7 is said then
	}{
		"in the middle":         {"", []int64{1, 2}, []int64{3, 4}, "gap 3-5", "e-2", []string{"1", "2"}, []string{"3", "4", "5", "6", "7"}},
		"before the first":      {"", nil, []int64{3, 4}, "gap 3-5", "e-2", nil, []string{"3", "4", "5", "6", "7"}},
		"from the beginning":    {"", nil, []int64{1, 2, 3, 4}, "gap 1-5", "e-0", nil, []string{"1", "2", "3", "4", "5", "6", "7"}},
		"what is told is other": {"?pattern=cost.*", []int64{2}, []int64{3, 4}, "gap 3-5", "e-2", nil, []string{"3", "5", "7"}},
		"behind the past":       {"?after=1", nil, []int64{3, 4}, "gap 3-5", "e-2", []string{"2"}, []string{"3", "4", "5", "6", "7"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			s := newStream(t, r)
			s.keep(1, 2)
			e := r.watch("/v1/events" + tt.query)
			f := r.onlyFeed()
			s.say(tt.said...)
			e.expect(tt.told...)
			if len(tt.said) > 0 { // what does not match is taken as well
				last := tt.said[len(tt.said)-1]
				bustest.Eventually(t, "what was said is heard", func() bool { return f.newest.Load() == last && len(f.pending) == 0 })
			}
			s.drop(f, tt.dropped...)
			s.say(5)
			ev := e.until(func(ev event) bool { return ev.data != "" })
			var g gapBody
			if err := json.Unmarshal([]byte(ev.data), &g); err != nil || fmt.Sprintf("%s %d-%d", ev.name, g.From, g.To) != tt.gap || ev.id != tt.id || g.Why != tooLate {
				t.Fatalf("got %+v, want %s with %s, %v", ev, tt.gap, tt.id, err)
			}
			if ev, ok := e.next(); ok {
				t.Errorf("behind the gap comes %+v", ev)
			}
			s.keep(3, 4, 5, 6)
			again := r.watch("/v1/events"+tt.query, "Last-Event-ID", ev.id)
			s.say(7)
			again.expect(tt.again...)
		})
	}
}

// A fact that the connection had no room for ends the stream: behind it would be a
// hole that nobody is told of.
func TestFeedEndsAtAHole(t *testing.T) {
	s := newStream(t, start(t))
	f, err := openFeed(t.Context(), s.conn)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	s.say(1)
	if ev := <-f.pending; ev.position != 1 {
		t.Fatalf("heard %d", ev.position)
	}
	s.drop(f, 2)
	s.say(3)
	select {
	case <-f.overrun:
	case ev := <-f.pending:
		t.Errorf("event %d came behind the hole", ev.position)
	case <-time.After(10 * time.Second):
		t.Error("the stream goes on")
	}
}

// What waits for one client is bounded in bytes as well, except that a single event may
// be larger; beyond, the stream ends.
func TestFeedIsBoundedInBytes(t *testing.T) {
	hear := func(f *feed, bytes int) (over bool) {
		f.hear(&nats.Msg{Subject: bus.Prefix + nameOf(1), Data: make([]byte, bytes)})
		return closed(f.overrun)
	}
	make := func() *feed { return &feed{pending: make(chan heard, maxPending), overrun: make(chan struct{})} }
	large := make()
	if hear(large, 2*maxPendingBytes) || !hear(large, 1) {
		t.Error("one large event is too much, or another beside it is not")
	}
	f, s := make(), &Service{}
	defer s.feeds.enter(f)()
	for range 4 {
		if hear(f, maxPendingBytes/4) {
			t.Fatal("it ends within the bound")
		}
	}
	f.taken(<-f.pending)
	if hear(f, maxPendingBytes/4) || s.feeds.pending() != 4 {
		t.Errorf("there is no room for what was taken; %d wait", s.feeds.pending())
	}
	if !hear(f, 1) || f.bytes.Load() > maxPendingBytes+1 || len(f.pending) != 4 {
		t.Errorf("%d events of %d bytes wait", len(f.pending), f.bytes.Load())
	}
	many := make()
	for n := range maxPending {
		if hear(many, 1) {
			t.Fatalf("it ends at %d", n)
		}
	}
	if !hear(many, 1) {
		t.Error("it has no bound in number")
	}
}
