// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/tool"
	"github.com/blufio/blufio/services/cost"
	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/recall"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// patience bounds every wait of a test; it is never used up by a passing one.
const patience = 10 * time.Second

// clock is the room's clock: the real one, moved forward by a test.
type clock struct {
	mu      sync.Mutex
	forward time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.forward)
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forward += d
}

// model is a provider that a test scripts.
type model struct {
	provider string // its name; default "script"
	name     string // of the model; "home" is free, "dear" has a price, "new" has none
	complete func(ctx context.Context, r llm.Request, delta func(string)) (llm.Response, error)

	mu   sync.Mutex
	seen []llm.Request
}

func (m *model) Name() string  { return cmp.Or(m.provider, "script") }
func (m *model) Model() string { return m.name }

func (m *model) Complete(ctx context.Context, r llm.Request, delta func(string)) (llm.Response, error) {
	m.mu.Lock()
	m.seen = append(m.seen, r)
	m.mu.Unlock()
	return m.complete(ctx, r, delta)
}

func (m *model) asked() []llm.Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]llm.Request(nil), m.seen...)
}

// echo answers with the last message's text.
func echo(_ context.Context, r llm.Request, _ func(string)) (llm.Response, error) {
	return say("echo " + last(r).Text), nil
}

func say(text string) llm.Response {
	return llm.Response{Text: text, Usage: bus.Usage{Input: 10, Output: 5}}
}

func call(id, name, input string) llm.Response {
	return llm.Response{Calls: []llm.ToolCall{{ID: id, Name: name, Input: json.RawMessage(input)}}, Usage: bus.Usage{Input: 10, Output: 5}}
}

func last(r llm.Request) llm.Message { return r.Messages[len(r.Messages)-1] }

// channel takes replies; fail, if set, may refuse one.
type channel struct {
	mu   sync.Mutex
	got  []bus.Reply
	more chan struct{}
	fail func(bus.Reply) error
}

func (c *channel) take(_ context.Context, r bus.Reply) (bus.Receipt, error) {
	c.mu.Lock()
	fail := c.fail
	c.mu.Unlock()
	if fail != nil {
		if err := fail(r); err != nil {
			return bus.Receipt{}, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, r)
	close(c.more)
	c.more = make(chan struct{})
	return bus.Receipt{}, nil
}

func (c *channel) refuse(fail func(bus.Reply) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

func (c *channel) replies() []bus.Reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]bus.Reply(nil), c.got...)
}

// rig is the agent with everything around it.
type rig struct {
	t          testing.TB
	bus        *bustest.Bus
	path       string
	cfg        agent.Config
	tools      tool.Config
	costs      cost.Config
	model      *model
	others     agent.Models // instead of model
	heartbeat  agent.Heartbeat
	people     agent.People
	extract    agent.Extract
	clock      *clock
	gateway    *channel
	ask        *bus.Conn
	finish     time.Duration
	texts      bool
	unledgered bool // no ledger answers
	forgetful  bool // no recall room answers
	setup      func(*agent.Service)
	log        *slog.Logger

	store    *sqlite.Store
	events   *eventlog.Log
	blobs    *blob.Store
	agent    *agent.Service
	asked    context.Context // ends when the room is asked to
	stopRoom func()
	stopCost func()

	stopRecall func()
}

// newRig is a rig that is not running yet.
func newRig(t testing.TB, complete func(context.Context, llm.Request, func(string)) (llm.Response, error)) *rig {
	t.Helper()
	r := &rig{t: t, bus: bustest.New(t), path: filepath.Join(t.TempDir(), "blufio.db"), cfg: agent.Defaults(), tools: tool.Defaults(), costs: cost.Defaults(),
		model: &model{name: "home", complete: complete}, clock: &clock{}, log: bustest.Logger(t), gateway: &channel{more: make(chan struct{})}}
	r.cfg.RecallTokens, r.cfg.CompactUSD = 0, 0 // tests of their own have them
	r.costs.Prices = map[string]cost.Price{"home": {Free: true}, "dear": {Input: 1, Output: 10}}
	r.ask = r.bus.Connect(t, "asker", bus.MessageReceive, bus.MessageGet, bus.MessageCancel, bus.AgentSessions, bus.AgentHistory, bus.AgentStatus,
		bus.QueueList, bus.QueueRetry, bus.QueueDrop, bus.SpendingSet, bus.CostGet, bus.PersonGet, bus.RecallSearch, bus.RecallKeep, bus.RecallList, bus.RecallDrop)
	channel := r.bus.Connect(t, "gateway")
	if err := channel.Handle(t.Context(), bus.MessageSend.To("gateway").Answer(r.gateway.take).Workers(64).Queue(1024)); err != nil {
		t.Fatal(err)
	}
	keys := r.bus.Connect(t, "keys")
	err := keys.Handle(t.Context(), bus.KeyList.Answer(func(context.Context, bus.KeyQuery) (bus.Keys, error) {
		return bus.Keys{Keys: []bus.Key{{Name: "sms", Role: bus.RoleChannel}, {Name: "weather", Role: bus.RoleTool}}}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// models is r.model alone, unless the test names others.
func (r *rig) models() agent.Models {
	if len(r.others.List) > 0 {
		return r.others
	}
	return agent.Models{List: []agent.Model{{Provider: r.model}}}
}

// start opens the store and starts the ledger and the agent.
func (r *rig) start() *rig {
	r.t.Helper()
	r.open()
	if !r.unledgered {
		r.startCost()
	}
	if !r.forgetful {
		r.startRecall()
	}
	r.startRoom()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	r.store = roomtest.OpenStore(r.t, r.path, append(agent.Schemas(), cost.Schema, blob.Schema, recall.Schema)...)
	r.events = eventlog.New(r.store)
	r.blobs = blob.New(r.store, blob.Limits{Blob: 8 << 20, Sum: 64 << 20, Keep: time.Hour}, r.clock.now)
}

func (r *rig) startCost() {
	r.t.Helper()
	c, err := cost.New(r.costs, cost.Deps{Store: r.store, Events: r.events, Logger: r.log, Now: r.clock.now, Location: time.UTC})
	if err != nil {
		r.t.Fatal(err)
	}
	r.stopCost = roomtest.Start(r.t, r.bus, c)
}

func (r *rig) startRecall() {
	r.t.Helper()
	s, err := recall.New(recall.Defaults(), recall.Deps{Store: r.store, Events: r.events, Logger: r.log, Now: r.clock.now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.stopRecall = roomtest.Start(r.t, r.bus, s)
}

// watched tells when the room is asked to end.
type watched struct {
	*agent.Service
	asked func()
}

func (w watched) Run(ctx context.Context, c *bus.Conn, ready func()) error {
	defer context.AfterFunc(ctx, w.asked)()
	return w.Service.Run(ctx, c, ready)
}

func (r *rig) startRoom() {
	r.t.Helper()
	tools, err := tool.New(r.tools, tool.Deps{Store: r.store, DataDir: filepath.Dir(r.path)})
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := agent.New(r.cfg, agent.Deps{Store: r.store, Events: r.events, Blobs: r.blobs, Models: r.models(), Heartbeat: r.heartbeat, Extract: r.extract, People: r.people, Tools: tools, Logger: r.log,
		Now: r.clock.now, Texts: r.texts, Finish: r.finish})
	if err != nil {
		r.t.Fatal(err)
	}
	s.Hurry(5 * time.Millisecond)
	if r.setup != nil {
		r.setup(s)
	}
	r.agent = s
	asked, ask := context.WithCancel(context.WithoutCancel(r.t.Context()))
	r.asked = asked
	r.stopRoom = roomtest.Start(r.t, r.bus, watched{s, ask})
}

// stop ends the rooms in the house's order and closes the store.
func (r *rig) stop() {
	r.t.Helper()
	r.stopRoom()
	if r.stopRecall != nil {
		r.stopRecall()
	}
	if r.stopCost != nil {
		r.stopCost()
	}
	if err := r.store.Close(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.start()
}

func message(session, text string) bus.Message {
	return bus.Message{Channel: "gateway", Owner: "ann", Session: session, Text: text}
}

func (r *rig) trySend(m bus.Message) (bus.Accepted, error) {
	return bus.MessageReceive.Ask(r.t.Context(), r.ask, m)
}

// send hands a message over and returns its id.
func (r *rig) send(session, text string) string {
	r.t.Helper()
	acc, err := r.trySend(message(session, text))
	if err != nil {
		r.t.Fatalf("send %q: %v", text, err)
	}
	return acc.ID
}

// wait waits for the n-th reply that arrived, from 1.
func (r *rig) wait(n int) []bus.Reply {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		r.gateway.mu.Lock()
		got, more := len(r.gateway.got), r.gateway.more
		r.gateway.mu.Unlock()
		if got >= n {
			return r.gateway.replies()
		}
		select {
		case <-more:
		case <-deadline:
			r.t.Fatalf("%d of %d replies arrived: %+v", got, n, r.gateway.replies())
		}
	}
}

// chat sends one message and waits for its reply.
func (r *rig) chat(session, text string) bus.Reply {
	r.t.Helper()
	id := r.send(session, text)
	for n := len(r.gateway.replies()); ; n++ {
		for _, got := range r.gateway.replies() {
			if got.MessageID == id {
				return got
			}
		}
		r.wait(n + 1)
	}
}

// until waits for what no one announces.
func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	bustest.Eventually(r.t, what, done)
}

func (r *rig) get(id string) bus.MessageRecord {
	r.t.Helper()
	m, err := bus.MessageGet.Ask(r.t.Context(), r.ask, bus.MessageQuery{ID: id})
	if err != nil {
		r.t.Fatalf("get %s: %v", id, err)
	}
	return m
}

func (r *rig) status() bus.AgentSummary {
	r.t.Helper()
	s, err := bus.AgentStatus.Ask(r.t.Context(), r.ask, bus.AgentQuery{})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// number reads one number from the database.
func (r *rig) number(sql string, args ...any) int64 {
	r.t.Helper()
	var n int64
	if err := r.store.QueryRow(r.t.Context(), sql, args...).Scan(&n); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	err := r.store.Write(r.t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(sql, args...); return err })
	if err != nil {
		r.t.Fatal(err)
	}
}

// facts returns the recorded events of one lane.
func facts[T any](r *rig, lane bus.Event[T]) []T {
	r.t.Helper()
	var out []T
	for _, row := range roomtest.Events(r.t, r.events) {
		if row.Subject != lane.Spec().Subject() {
			continue
		}
		var v T
		if err := json.Unmarshal(row.Payload, &v); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

func wantCode(t testing.TB, err error, code bus.Code) {
	t.Helper()
	if bus.CodeOf(err) != code {
		t.Fatalf("error %v has code %q, want %q", err, bus.CodeOf(err), code)
	}
}

var errDown = errors.New("down")

func texts(rs []bus.Reply) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Text)
	}
	return out
}

func numbered(n int) string { return fmt.Sprint("m", n) }

// gather returns the room's metrics.
func (r *rig) gather() []*dto.MetricFamily {
	r.t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r.agent.Door().Metrics...)
	families, err := reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	return families
}
