// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/channel/telegram"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

const ann = 1001 // on the list

// clock is the room's: the real one, moved forward by a test.
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

// inbox stands where the agent is: it accepts like it, and may refuse.
type inbox struct {
	mu     sync.Mutex
	got    []bus.Message
	ids    map[string]string
	asked  int
	refuse func(n int, m bus.Message) error
	more   chan struct{}
}

func (i *inbox) receive(_ context.Context, m bus.Message) (bus.Accepted, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked++
	if i.refuse != nil {
		if err := i.refuse(i.asked, m); err != nil {
			return bus.Accepted{}, err
		}
	}
	if id, ok := i.ids[m.ExternalID]; ok {
		return bus.Accepted{ID: id, Duplicate: true}, nil
	}
	i.got = append(i.got, m)
	id := fmt.Sprint("m", len(i.got))
	i.ids[m.ExternalID] = id
	close(i.more)
	i.more = make(chan struct{})
	return bus.Accepted{ID: id, Session: m.Session}, nil
}

func (i *inbox) set(refuse func(n int, m bus.Message) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refuse = refuse
}

// rig is the room with a Telegram on one side and an agent's stand-in on the other.
type rig struct {
	t      testing.TB
	bus    *bustest.Bus
	fake   *fakebot.Bot
	path   string
	cfg    telegram.Config
	clock  *clock
	inbox  *inbox
	agent  *bus.Conn
	logged *bustest.Text
	log    *slog.Logger
	tick   time.Duration // of the room; 0: a short one

	store  *sqlite.Store
	events *eventlog.Log
	blobs  *blob.Store
	room   *telegram.Service
	stop   func()
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, bus: bustest.New(t), fake: fakebot.Start(t), path: filepath.Join(t.TempDir(), "blufio.db"), cfg: telegram.Defaults(),
		clock: &clock{}, inbox: &inbox{ids: map[string]string{}, more: make(chan struct{})}, logged: &bustest.Text{}}
	r.cfg.BotToken, r.cfg.APIURL, r.cfg.Allow = config.NewSecret(r.fake.Token()), r.fake.URL(), []int64{ann}
	r.log = slog.New(slog.NewTextHandler(r.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.agent = r.bus.Connect(t, "agent", bus.MessageSend, bus.MessageDelta)
	if err := r.agent.Handle(t.Context(), bus.MessageReceive.Answer(r.inbox.receive)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.logged.String())
		}
	})
	return r
}

func (r *rig) start() *rig {
	r.t.Helper()
	r.store = roomtest.OpenStore(r.t, r.path, telegram.Schema, blob.Schema)
	r.events = eventlog.New(r.store)
	r.blobs = blob.New(r.store, r.cfg.Files(), r.clock.now)
	room, err := telegram.New(r.cfg, telegram.Deps{Store: r.store, Events: r.events, Blobs: r.blobs, Logger: r.log, Now: r.clock.now})
	if err != nil {
		r.t.Fatal(err)
	}
	room.Hurry(5 * time.Millisecond)
	if r.tick > 0 {
		room.Tick(r.tick)
	}
	r.room = room
	r.stop = roomtest.Start(r.t, r.bus, room)
	return r
}

func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	if err := r.store.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.start()
}

func (r *rig) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.t.Context(), 10*time.Second)
}

// wait waits until the n-th message is accepted.
func (r *rig) wait(n int) []bus.Message {
	r.t.Helper()
	ctx, cancel := r.patience()
	defer cancel()
	for {
		r.inbox.mu.Lock()
		got, more := append([]bus.Message(nil), r.inbox.got...), r.inbox.more
		r.inbox.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-more:
		case <-ctx.Done():
			r.t.Fatalf("%d of %d messages were accepted", len(got), n)
		}
	}
}

// until waits for a change at Telegram's side.
func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	ctx, cancel := r.patience()
	defer cancel()
	if !r.fake.Wait(ctx, done) {
		r.t.Fatalf("waited in vain until %s", what)
	}
}

func (r *rig) confirmed() {
	r.t.Helper()
	r.until("everything is confirmed", func() bool { return r.fake.Unconfirmed() == 0 })
}

func reply(id, text string) bus.Reply {
	return bus.Reply{Key: id, MessageID: id, Owner: fmt.Sprint(ann), Session: "main", State: bus.StateAnswered, Text: text, Attempt: 1}
}

func (r *rig) deliver(rep bus.Reply) error {
	_, err := bus.MessageSend.To(telegram.Name).Ask(r.t.Context(), r.agent, rep)
	return err
}

func (r *rig) mustDeliver(rep bus.Reply) {
	r.t.Helper()
	if err := r.deliver(rep); err != nil {
		r.t.Fatalf("deliver %s: %v", rep.Key, err)
	}
}

func (r *rig) delta(id string, attempt, round, n int, text string) {
	r.t.Helper()
	err := bus.MessageDelta.To(telegram.Name).Publish(r.agent, bus.Delta{MessageID: id, Owner: fmt.Sprint(ann), Session: "main", Attempt: attempt, Round: round, N: n, Text: text})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) texts(chat int64) (out []string) {
	for _, m := range r.fake.Chat(chat) {
		out = append(out, m.Plain)
	}
	return out
}

func facts[T any](r *rig, lane bus.Event[T]) (out []T) {
	r.t.Helper()
	rows, err := r.events.After(r.t.Context(), 0, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, row := range rows {
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

func group(text string, more map[string]any) map[string]any {
	m := map[string]any{"text": text, "chat": map[string]any{"id": int64(-500), "type": "supergroup"},
		"from": map[string]any{"id": int64(ann), "first_name": "Ann"}}
	for k, v := range more {
		m[k] = v
	}
	return m
}

func problem(r *rig) string {
	var codes []string
	for _, p := range r.room.Door().Health() {
		codes = append(codes, p.Code)
	}
	return strings.Join(codes, ",")
}
