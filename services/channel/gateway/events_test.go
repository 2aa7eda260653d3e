// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/relay"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"
)

// stream is what the relay keeps, and what it says.
type stream struct {
	t    *testing.T
	conn *bus.Conn

	mu      sync.Mutex
	kept    []bus.EventRecord
	asked   []bus.EventQuery
	limit   int // of a page, 0: as asked
	reading func()
	epoch   atomic.Value // string
}

func newStream(t *testing.T, r *rig) *stream {
	s := &stream{t: t, conn: r.bus.Connect(t, "relay")}
	s.epoch.Store("e")
	if err := s.conn.Handle(t.Context(), bus.EventsRead.Answer(s.read)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stream) read(_ context.Context, q bus.EventQuery) (bus.EventPage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading != nil {
		s.reading()
	}
	s.asked = append(s.asked, q)
	pattern, err := bus.ParsePattern(q.Pattern)
	if err != nil {
		return bus.EventPage{}, err
	}
	page := bus.EventPage{Epoch: s.epoch.Load().(string), Events: []bus.EventRecord{}}
	if len(s.kept) > 0 {
		page.First = s.kept[0].Position
	}
	for _, ev := range s.kept {
		if ev.Position <= q.After || q.Since != nil && ev.Time.Before(*q.Since) {
			continue
		}
		if s.limit > 0 && len(page.Events) == s.limit {
			page.More = true
			break
		}
		page.Last = ev.Position
		if pattern.Match(ev.Event) {
			page.Events = append(page.Events, ev)
		}
	}
	if page.Last == 0 && len(s.kept) > 0 {
		page.Last = s.kept[len(s.kept)-1].Position
	}
	return page, nil
}

// keep stores events of the given positions.
func (s *stream) keep(positions ...int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range positions {
		s.kept = append(s.kept, bus.EventRecord{Position: p, Time: time.Now(), Event: nameOf(p), Payload: json.RawMessage(fmt.Sprintf(`{"n":%d}`, p))})
	}
}

// say publishes events of the given positions without storing them.
func (s *stream) say(positions ...int64) {
	s.t.Helper()
	for _, p := range positions {
		m := &nats.Msg{Subject: bus.Prefix + nameOf(p), Data: fmt.Appendf(nil, `{"n":%d}`, p),
			Header: nats.Header{bus.HeaderSeq: {strconv.FormatInt(p, 10)}, bus.HeaderEpoch: {s.epoch.Load().(string)}}}
		if err := s.conn.NATS().PublishMsg(m); err != nil {
			s.t.Error(err)
		}
	}
}

// nameOf makes events of even positions turns, and the others money.
func nameOf(p int64) string {
	if p%2 == 0 {
		return bus.TurnCompleted.Spec().Name
	}
	return bus.CostRecorded.Spec().Name
}

func (r *rig) watch(path string, header ...string) *eventReader {
	r.t.Helper()
	return r.open("GET", path, "", append([]string{"Authorization", "Bearer " + r.token("me", "status")}, header...)...)
}

// expect reads events, written as their ids or "gap FROM-TO".
func (e *eventReader) expect(want ...string) {
	e.t.Helper()
	for _, w := range want {
		ev := e.until(func(ev event) bool { return ev.comment == "" && ev.data != "" })
		got, ours := strings.CutPrefix(ev.id, "e-")
		if ev.name == "gap" {
			var g gapBody
			if err := json.Unmarshal([]byte(ev.data), &g); err != nil || g.Why == "" {
				e.t.Errorf("gap %s: %v", ev.data, err)
			}
			got = fmt.Sprintf("gap %d-%d", g.From, g.To)
		} else if p, _ := strconv.ParseInt(got, 10, 64); !ours || ev.name != nameOf(p) || ev.data != fmt.Sprintf(`{"n":%d}`, p) {
			e.t.Errorf("event %+v", ev)
		}
		if got != w {
			e.t.Fatalf("got %s, want %s", got, w)
		}
	}
}

func TestEventsLive(t *testing.T) {
	r := start(t)
	s := newStream(t, r)
	e := r.watch("/v1/events")
	s.say(7, 8, 9)
	e.expect("7", "8", "9")
	filtered := r.watch("/v1/events?pattern=turn.*")
	s.say(10, 11, 12)
	filtered.expect("10", "12")
	e.expect("10", "11", "12")
	e.close()
	filtered.close()
	bustest.Eventually(t, "no stream stays", func() bool { return len(r.service.streams) == 0 })
}

func TestEventsReplay(t *testing.T) {
	tests := []struct {
		name, path string
		header     []string
		want       []string // before the live ones, 11 and 12
	}{
		{"after", "/v1/events?after=8", nil, []string{"9", "10"}},
		{"from the beginning", "/v1/events?after=0", nil, []string{"gap 1-3", "4", "5", "6", "7", "8", "9", "10"}},
		{"after what is gone", "/v1/events?after=2", nil, []string{"gap 3-3", "4", "5", "6", "7", "8", "9", "10"}},
		{"at the edge", "/v1/events?after=3", nil, []string{"4", "5", "6", "7", "8", "9", "10"}},
		{"come back", "/v1/events?since=1h", []string{"Last-Event-ID", "9"}, []string{"10"}},
		{"nothing new", "/v1/events?after=10", nil, nil},
		{"since", "/v1/events?since=1h", nil, []string{"4", "5", "6", "7", "8", "9", "10"}},
		{"since now", "/v1/events?since=0s", nil, nil},
		{"filtered", "/v1/events?after=3&pattern=cost.>", nil, []string{"5", "7", "9"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t)
			s := newStream(t, r)
			s.limit = 2 // pages
			s.keep(4, 5, 6, 7, 8, 9, 10)
			e := r.watch(tt.path, tt.header...)
			s.say(11, 12, 13)
			live := []string{"11", "12", "13"}
			if strings.Contains(tt.path, "pattern") {
				live = []string{"11", "13"}
			}
			e.expect(append(tt.want, live...)...)
		})
	}
}

// What is said while the past is read comes once.
func TestEventsBetweenPastAndPresent(t *testing.T) {
	tests := []struct {
		name  string
		while func(s *stream) // the first page is read
		then  func(s *stream)
		want  []string
	}{
		{"heard and stored", func(s *stream) { s.say(3) }, func(s *stream) { s.keep(3); s.say(4) }, []string{"1", "2", "3", "4"}},
		{"stored, heard twice", func(s *stream) { s.say(2); s.say(2) }, func(s *stream) { s.say(3) }, []string{"1", "2", "3"}},
		{"stored later than heard", func(*stream) {}, func(s *stream) { s.keep(3, 4); s.say(5) }, []string{"1", "2", "3", "4", "5"}},
		{"never stored", func(*stream) {}, func(s *stream) { s.say(5) }, []string{"1", "2", "gap 3-4", "5"}},
		{"stored with the one heard", func(*stream) {}, func(s *stream) { s.keep(3, 4, 5); s.say(5, 6) }, []string{"1", "2", "3", "4", "5", "6"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t)
			s := newStream(t, r)
			s.keep(1, 2)
			var once sync.Once
			s.reading = func() { once.Do(func() { tt.while(s) }) }
			e := r.watch("/v1/events?after=0")
			e.expect("1", "2")
			tt.then(s)
			e.expect(tt.want[2:]...)
		})
	}
}

// The database was put back: positions count anew.
func TestEventsOfAnotherLog(t *testing.T) {
	r := start(t)
	s := newStream(t, r)
	s.keep(1, 2)
	e := r.watch("/v1/events", "Last-Event-ID", "50")
	s.say(3, 4)
	e.expect("gap 51-0", "1", "2", "3", "4")
}

// A client names the log it counts in, and gets all of another one.
func TestEventsNameTheirLog(t *testing.T) {
	for from, want := range map[string][]string{
		"e-4":  {"5", "6", "7"},
		"4":    {"5", "6", "7"},
		"e-9":  {"7"}, // it is ahead, and nothing was missed
		"d-4":  {"gap 5-0", "1", "2", "3", "4", "5", "6", "7"},
		"d-50": {"gap 51-0", "1", "2", "3", "4", "5", "6", "7"},
	} {
		t.Run(from, func(t *testing.T) {
			r := start(t)
			s := newStream(t, r)
			s.keep(1, 2, 3, 4, 5, 6)
			for _, e := range []*eventReader{r.watch("/v1/events", "Last-Event-ID", from), r.watch("/v1/events?after=" + from)} {
				if from == "e-9" {
					s.say(10)
					e.expect("10")
					continue
				}
				s.say(7)
				e.expect(want...)
			}
		})
	}
}

// The log is replaced while a client listens.
func TestEventsOfALogReplaced(t *testing.T) {
	r := start(t)
	s := newStream(t, r)
	s.keep(1, 2)
	e := r.watch("/v1/events?after=0")
	e.expect("1", "2")
	s.epoch.Store("0123456789abcdef")
	s.say(3)
	e.expect("gap 3-0")
	for _, id := range []string{"01234567-1", "01234567-2", "01234567-3"} {
		if ev := e.until(func(ev event) bool { return ev.data != "" }); ev.id != id {
			t.Fatalf("got %+v, want %s", ev, id)
		}
	}
}

// The stop comes while what is between is looked for: the event behind it is not
// told, so that the client comes back before the hole.
func TestDrainKeepsHolesOpen(t *testing.T) {
	r := start(t)
	s := newStream(t, r)
	s.keep(1, 2)
	e := r.watch("/v1/events?after=0")
	e.expect("1", "2")
	reads := make(chan struct{}, 2*lagTries)
	s.mu.Lock()
	s.reading = func() { reads <- struct{}{} }
	s.mu.Unlock()
	s.say(5)
	<-reads
	r.stop()
	for {
		ev, ok := e.next()
		if !ok {
			return
		}
		if ev.data != "" {
			t.Errorf("told %+v", ev)
		}
	}
}

// However many pages lie in between, there is no gap.
func TestEventsFillPages(t *testing.T) {
	r := start(t)
	s := newStream(t, r)
	s.keep(1)
	e := r.watch("/v1/events?after=0")
	e.expect("1")
	s.mu.Lock()
	s.limit = 1
	s.mu.Unlock()
	s.keep(2, 3, 4, 5, 6, 7, 8, 9, 10)
	s.say(11)
	e.expect("2", "3", "4", "5", "6", "7", "8", "9", "10", "11")
}

// Nothing that stands in an event's data begins another line.
func TestEventDataIsOneLine(t *testing.T) {
	w := httptest.NewRecorder()
	out := &sse{w: w, limit: time.Second}
	if err := out.event("a", "1", []byte("{\n\"b\":\r\n1}")); err != nil || w.Body.String() != "id: 1\nevent: a\ndata: { \"b\":  1}\n\n" {
		t.Errorf("%v, %q", err, w.Body)
	}
}

func TestEventsHeartbeat(t *testing.T) {
	r := startEvery(t, &periods{heartbeat: time.Millisecond, keepAlive: time.Hour, ping: time.Hour})
	e := r.watch("/v1/events")
	for range 2 {
		e.until(func(ev event) bool { return ev.comment == "heartbeat" })
	}
}

// A stream and a socket do not outlive the token that opened them.
func TestTokenExpires(t *testing.T) {
	r := start(t)
	token, err := r.service.issue(t.Context(), bus.TokenRequest{Subject: "me", Scopes: []string{scopeStatus, scopeChat}, Seconds: 1})
	if err != nil {
		t.Fatal(err)
	}
	e := r.open("GET", "/v1/events", "", "Authorization", "Bearer "+token.Token)
	p, _ := r.connect(nil, "Authorization", "Bearer "+token.Token)
	if _, err := p.read(); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("the socket ends with %v", err)
	}
	e.until(func(ev event) bool { return strings.Contains(ev.comment, "expired") })
	if ev, ok := e.next(); ok || e.scan.Err() != nil {
		t.Errorf("the stream goes on: %+v, %v", ev, e.scan.Err())
	}
	if time.Now().Before(token.Expires) {
		t.Error("they ended before the token did")
	}
}

// A client that takes nothing has write_timeout for each event, not for the stream.
func TestStreamWriteTimeout(t *testing.T) {
	r := startEvery(t, &periods{heartbeat: 10 * time.Millisecond, keepAlive: time.Hour, ping: time.Hour},
		func(c *Config) { c.WriteTimeout = 100 * time.Millisecond })
	e := r.watch("/v1/events")
	for range 30 { // three times as long
		e.until(func(ev event) bool { return ev.comment == "heartbeat" })
	}
}

func TestEventsAreRefused(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxStreams = 1 })
	status := []string{"Authorization", "Bearer " + r.token("me", "status")}
	for path, want := range map[string]int{
		"/v1/events?after=-1": 400, "/v1/events?after=x": 400, "/v1/events?since=soon": 400, "/v1/events?since=-1h": 400, "/v1/events?after=1&since=1h": 400,
		"/v1/events?pattern=turn..x": 400, "/v1/events?pattern=turn.complete": 400, "/v1/events?pattern=>.x": 400, "/v1/events?pattern=a%20b": 400, "/v1/events?x=1": 400,
		"/v1/events?after=1": 503, // nobody keeps events
	} {
		if a := r.do("GET", path, "", status...); a.status != want {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := r.do("GET", "/v1/events", "", "Authorization", "Bearer "+r.token("me", "chat")); a.status != 403 {
		t.Errorf("other scope: %d", a.status)
	}
	if a := r.do("HEAD", "/v1/events", "", status...); a.status != 200 || a.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %d %v", a.status, a.header)
	}
	bustest.Eventually(t, "the slot is free", func() bool { return len(r.service.streams) == 0 })
	r.watch("/v1/events")
	if a := r.do("GET", "/v1/events", "", status...); a.status != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d %s", a.status, a.body)
	}
}

func TestDrainEndsEvents(t *testing.T) {
	r := start(t)
	e := r.watch("/v1/events")
	begun := time.Now()
	r.stop()
	for {
		if _, ok := e.next(); !ok {
			break
		}
	}
	if err := e.scan.Err(); err != nil || time.Since(begun) > 2*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}

// The whole way: refusals are recorded, relayed and stored, then replayed and
// heard here.
func TestEventsOfTheRelay(t *testing.T) {
	r := start(t)
	open := make(chan struct{})
	close(open)
	roomtest.Start(t, r.bus, relay.New(r.events, r.bus.Server(), open, bustest.Logger(t)))
	status := "Bearer " + r.token("me", "status")
	r.do("GET", "/v1/sessions", "")
	var e *eventReader
	bustest.Eventually(t, "the stream is open and holds the event", func() bool {
		if e != nil {
			e.close()
		}
		if a := r.do("HEAD", "/v1/events?after=0", "", "Authorization", status); a.status != 200 {
			return false
		}
		e = r.watch("/v1/events?after=0&pattern=security.>")
		r.do("GET", "/v1/sessions", "", "Authorization", "Bearer x") // told at once only the first time
		ev := e.until(func(ev event) bool { return ev.data != "" })
		return strings.HasSuffix(ev.id, "-2") && ev.name == "evt.security.denied" && strings.Contains(ev.data, reasonNoToken) // after the token's own
	})
	second := e.until(func(ev event) bool { return ev.data != "" })
	if !strings.Contains(second.data, reasonBad) {
		t.Errorf("got %+v", second)
	}
	again := r.watch("/v1/events?pattern=security.>", "Last-Event-ID", "2")
	if ev := again.until(func(ev event) bool { return ev.data != "" }); ev.id != second.id {
		t.Errorf("come back: %+v", ev)
	}
}
