// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/prometheus/client_golang/prometheus"
)

// rig is a gateway on a real bus and a real port, with an agent that does what
// the test tells it.
type rig struct {
	t       *testing.T
	bus     *bustest.Bus
	service *Service
	agent   *agent
	store   *sqlite.Store
	events  *eventlog.Log
	stop    func()
	client  *http.Client
	url     string
}

func start(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	return startWith(t, nil, nil, change...)
}

// startEvery starts a gateway with periods of its own.
func startEvery(t *testing.T, every *periods, change ...func(*Config)) *rig {
	t.Helper()
	return startWith(t, nil, every, change...)
}

// startWith starts a gateway with a clock, or a device key, of its own.
func startWith(t *testing.T, deps func(*Deps), every *periods, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, bus: bustest.New(t), client: &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}}
	r.agent = newAgent(t, r.bus)
	r.store = roomtest.Store(t, Schema)
	r.service, r.events = newServiceWith(t, r.bus, r.store, deps, change...)
	if every != nil {
		r.service.every = *every
	}
	r.stop = roomtest.Start(t, r.bus, r.service)
	t.Cleanup(r.client.CloseIdleConnections)
	r.url = r.service.URL()
	return r
}

func newService(t *testing.T, b *bustest.Bus, store *sqlite.Store, change ...func(*Config)) (*Service, *eventlog.Log) {
	t.Helper()
	return newServiceWith(t, b, store, nil, change...)
}

func newServiceWith(t *testing.T, b *bustest.Bus, store *sqlite.Store, deps func(*Deps), change ...func(*Config)) (*Service, *eventlog.Log) {
	t.Helper()
	cfg := Defaults()
	cfg.Listen = "127.0.0.1:0"
	cfg.MaxAuthDelay = 2 * time.Millisecond
	for _, c := range change {
		c(&cfg)
	}
	events, registry := eventlog.New(store), prometheus.NewRegistry()
	d := Deps{Key: b.Device().Private, Store: store, Events: events, Metrics: registry, Logger: bustest.Logger(t)}
	if deps != nil {
		deps(&d)
	}
	s, err := New(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	registry.MustRegister(s.Door().Metrics...)
	return s, events
}

// token makes a token that is valid for an hour.
func (r *rig) token(subject string, scopes ...string) string {
	r.t.Helper()
	return r.issue(bus.TokenRequest{Subject: subject, Scopes: scopes, Seconds: 3600}).Token
}

func (r *rig) issue(req bus.TokenRequest) bus.Token {
	r.t.Helper()
	token, err := r.service.issue(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

// answer is a response, read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) decode(t *testing.T, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("decode %s: %v", a.body, err)
	}
}

// failure returns the code, message and hint of an error answer.
func (a answer) failure(t *testing.T) (code, message, hint string) {
	t.Helper()
	var body struct {
		Error struct{ Code, Message, Hint *string } `json:"error"`
	}
	a.decode(t, &body)
	if e := body.Error; e.Code == nil || e.Message == nil || e.Hint == nil || *e.Message == "" {
		t.Fatalf("not the shape of an error: %s", a.body)
	}
	return *body.Error.Code, *body.Error.Message, *body.Error.Hint
}

// do sends a request; header holds names and values in turn.
func (r *rig) do(method, path, body string, header ...string) answer {
	r.t.Helper()
	a, err := r.try(method, path, body, header...)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) try(method, path, body string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(data)}, err
}

// post sends a message as subject "me".
func (r *rig) post(path, text string, header ...string) answer {
	r.t.Helper()
	body, err := json.Marshal(map[string]string{"session": "main", "text": text})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.do("POST", path, string(body), append([]string{
		"Authorization", "Bearer " + r.token("me", "chat"), "Content-Type", "application/json"}, header...)...)
}

func (r *rig) get(path, subject string, scopes ...string) answer {
	r.t.Helper()
	return r.do("GET", path, "", "Authorization", "Bearer "+r.token(subject, scopes...))
}

// agent answers the lanes that the gateway asks.
type agent struct {
	t    *testing.T
	conn *bus.Conn

	mu       sync.Mutex
	fail     error // of every call
	byID     map[string]*bus.MessageRecord
	owners   map[string]string // by id
	byKey    map[string]string // id by external id
	order    []string
	received func(id string) // called before Accepted is answered
	asked    chan string     // gets the id of each msg.get, if it has room
	sessions bus.SessionQuery
	listed   []bus.Session // what it answers
	history  bus.HistoryQuery
	canceled []bus.MessageQuery
	last     bus.Message
}

func newAgent(t *testing.T, b *bustest.Bus) *agent {
	a := &agent{t: t, conn: b.Connect(t, "agent", bus.MessageSend, bus.MessageDelta), byID: map[string]*bus.MessageRecord{},
		owners: map[string]string{}, byKey: map[string]string{}, asked: make(chan string, 64)}
	err := a.conn.Handle(t.Context(),
		bus.MessageReceive.Answer(a.receive), bus.MessageGet.Answer(a.get), bus.MessageCancel.Answer(a.cancel),
		bus.AgentSessions.Answer(a.listSessions), bus.AgentHistory.Answer(a.listHistory))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *agent) receive(_ context.Context, m bus.Message) (bus.Accepted, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = m
	if a.fail != nil {
		return bus.Accepted{}, a.fail
	}
	if id, known := a.byKey[m.ExternalID]; known && m.ExternalID != "" {
		return bus.Accepted{ID: id, Session: m.Session, Duplicate: true}, nil
	}
	id := fmt.Sprintf("m%d", len(a.order)+1)
	a.byID[id] = &bus.MessageRecord{Seq: int64(len(a.order) + 1), ID: id, Session: m.Session, Channel: m.Channel,
		State: bus.StateQueued, Text: m.Text, ReceivedAt: time.Unix(1, 0).UTC()}
	a.owners[id], a.byKey[m.ExternalID], a.order = m.Owner, id, append(a.order, id)
	if a.received != nil {
		a.mu.Unlock()
		a.received(id)
		a.mu.Lock()
	}
	return bus.Accepted{ID: id, Session: m.Session}, nil
}

func (a *agent) get(_ context.Context, q bus.MessageQuery) (bus.MessageRecord, error) {
	defer func() {
		select {
		case a.asked <- q.ID:
		default:
		}
	}()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return bus.MessageRecord{}, a.fail
	}
	rec := a.byID[q.ID]
	if rec == nil || q.Owner != "" && a.owners[q.ID] != q.Owner {
		return bus.MessageRecord{}, bus.Errorf(bus.CodeNotFound, "no message %s", q.ID)
	}
	return *rec, nil
}

func (a *agent) cancel(_ context.Context, q bus.MessageQuery) (bus.MessageRecord, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.canceled = append(a.canceled, q)
	rec := a.byID[q.ID]
	rec.State, rec.Error, rec.Reply = bus.StateFailed, bus.CodeCanceled, "stopped"
	return *rec, nil
}

func (a *agent) listSessions(_ context.Context, q bus.SessionQuery) (bus.Sessions, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions = q
	return bus.Sessions{Sessions: a.listed}, a.fail
}

func (a *agent) listHistory(_ context.Context, q bus.HistoryQuery) (bus.History, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.history = q
	h := bus.History{More: true}
	for _, id := range a.order {
		h.Messages = append(h.Messages, *a.byID[id])
	}
	return h, a.fail
}

// settle stores the outcome of a message.
func (a *agent) settle(id, state, text string) bus.Reply {
	a.mu.Lock()
	defer a.mu.Unlock()
	rec := a.byID[id]
	rec.State, rec.Reply = state, text
	return bus.Reply{Key: "k" + id, MessageID: id, Owner: a.owners[id], Session: rec.Session, State: state, Text: text, Attempt: 1}
}

// reply stores the outcome and delivers it.
func (a *agent) reply(id, state, text string) error {
	_, err := bus.MessageSend.To(name).Ask(a.t.Context(), a.conn, a.settle(id, state, text))
	return err
}

// set changes the agent under its lock.
func (a *agent) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// say publishes a piece of the answer to message id.
func (a *agent) say(id string, attempt, round, n int, text string) {
	a.t.Helper()
	a.mu.Lock()
	owner, session := a.owners[id], a.byID[id].Session
	a.mu.Unlock()
	err := bus.MessageDelta.To(name).Publish(a.conn, bus.Delta{MessageID: id, Owner: owner, Session: session, Attempt: attempt, Round: round, N: n, Text: text})
	if err != nil {
		a.t.Error(err)
	}
}

// event is a server-sent event; comment is set for a comment alone.
type event struct{ name, id, data, comment string }

// eventReader reads server-sent events as they come.
type eventReader struct {
	t    *testing.T
	resp *http.Response
	scan *bufio.Scanner
	stop context.CancelFunc
}

// open begins to read events.
func (r *rig) open(method, path, body string, header ...string) *eventReader {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	e := &eventReader{t: r.t, resp: resp, scan: newScanner(resp), stop: cancel}
	r.t.Cleanup(e.close)
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || kind != "text/event-stream" {
		data, _ := io.ReadAll(resp.Body)
		r.t.Fatalf("no event stream: %d %s %s", resp.StatusCode, kind, data)
	}
	return e
}

func (e *eventReader) close() {
	e.stop()
	e.resp.Body.Close()
}

// next returns the next event or comment; ok is false at the end of the stream.
func (e *eventReader) next() (ev event, ok bool) {
	e.t.Helper()
	for e.scan.Scan() {
		line := e.scan.Text()
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "":
			if ev != (event{}) {
				return ev, true
			}
			if line != "" {
				ev.comment = value
			}
		case "event":
			ev.name = value
		case "id":
			ev.id = value
		case "data":
			ev.data = value
		}
	}
	return ev, ev != (event{})
}

// until reads up to the first event that match accepts.
func (e *eventReader) until(match func(event) bool) event {
	e.t.Helper()
	for {
		ev, ok := e.next()
		if !ok {
			e.t.Fatalf("the stream ended: %v", e.scan.Err())
		}
		if match(ev) {
			return ev
		}
	}
}

func newScanner(resp *http.Response) *bufio.Scanner {
	s := bufio.NewScanner(resp.Body)
	s.Buffer(nil, 1<<20)
	return s
}
