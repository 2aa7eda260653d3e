// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/serve"
)

// house stands in for a daemon whose answers a test decides: a real bus with the
// rooms that the command line talks to, and the files that lead there.
type house struct {
	t    *testing.T
	dir  string
	stop func()

	status bus.Status
	reply  string // of every message; "" for none

	mu       sync.Mutex
	messages map[string]bus.MessageRecord // by id
	handed   []bus.Message
	refuse   []error // answers to the next messages, before any is taken
	asked    func()  // called at each question about a message
	canceled []string
	stopped  func(id string) // called at each wish to stop; may be nil
	terminal *bus.Conn
	dead     []bus.Letter
	dropped  []string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: filepath.Join(t.TempDir(), "data"), messages: map[string]bus.MessageRecord{}, asked: func() {},
		status: bus.Status{Schema: bus.StatusSchema, State: bus.Healthy}}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

// start opens the bus on a free port, with what is remembered from before.
func (h *house) start() {
	h.t.Helper()
	device, err := embedded.LoadOrCreateDevice(h.dir)
	h.check(err)
	lock, err := os.OpenFile(filepath.Join(h.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	h.check(err)
	h.check(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	server, err := embedded.Start(h.t.Context(), embedded.Config{Listen: "127.0.0.1:0", Device: device, Logger: bustest.Logger(h.t)})
	h.check(err)
	nc, err := server.ConnectHouse("terminal")
	h.check(err)
	conn := bus.NewConn(nc, bus.Options{Name: "terminal", Says: []bus.Lane{bus.TerminalReply, bus.MessageDelta}, Logger: bustest.Logger(h.t)})
	h.mu.Lock()
	h.terminal = conn
	h.mu.Unlock()
	h.check(conn.Handle(h.t.Context(),
		bus.StatusGet.Answer(func(context.Context, bus.StatusQuery) (bus.Status, error) { return h.status, nil }),
		bus.MessageReceive.Answer(h.receive), bus.MessageGet.Answer(h.get), bus.MessageCancel.Answer(h.cancel),
		bus.QueueList.Answer(h.list), bus.QueueDrop.Answer(h.drop)))
	h.writeInfo(serve.Info{PID: os.Getpid(), Version: "test", Bus: server.URL()})
	h.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(h.t.Context()), 5*time.Second)
		defer cancel()
		if err := conn.Drain(ctx); err != nil {
			h.t.Error(err)
		}
		if err := server.Shutdown(ctx); err != nil {
			h.t.Error(err)
		}
		lock.Close()
	})
}

func (h *house) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) writeInfo(info serve.Info) {
	h.t.Helper()
	data, err := json.Marshal(info)
	h.check(err)
	h.check(os.WriteFile(filepath.Join(h.dir, "daemon.json"), data, 0o600))
}

func (h *house) receive(_ context.Context, m bus.Message) (bus.Accepted, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handed = append(h.handed, m)
	if len(h.refuse) > 0 {
		err := h.refuse[0]
		h.refuse = h.refuse[1:]
		return bus.Accepted{}, err
	}
	r := bus.MessageRecord{ID: fmt.Sprintf("m%d", len(h.messages)+1), Session: "main", Channel: m.Channel, Text: m.Text, State: bus.StateQueued}
	h.messages[r.ID] = r
	if h.reply != "" {
		h.answer(r.ID, bus.StateAnswered, h.reply)
	}
	return bus.Accepted{ID: r.ID, Session: "main"}, nil
}

// fail ends a message without an answer; h.mu is held.
func (h *house) fail(id string, code bus.Code, text string) {
	r := h.messages[id]
	r.Error = code
	h.messages[id] = r
	h.answer(id, bus.StateFailed, text)
}

// answer stores a reply and tells the terminals; h.mu is held.
func (h *house) answer(id, state, text string) {
	r := h.messages[id]
	r.State, r.Reply = state, text
	h.messages[id] = r
	if err := bus.TerminalReply.Publish(h.terminal, bus.Reply{MessageID: id, State: state, Text: text}); err != nil {
		h.t.Error(err)
	}
}

func (h *house) get(_ context.Context, q bus.MessageQuery) (bus.MessageRecord, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.asked()
	r, ok := h.messages[q.ID]
	if !ok {
		return r, bus.Errorf(bus.CodeNotFound, "there is no message %q", q.ID)
	}
	return r, nil
}

// cancel stops a message like an agent that takes its time: a test ends it.
func (h *house) cancel(_ context.Context, q bus.MessageQuery) (bus.MessageRecord, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.canceled = append(h.canceled, q.ID)
	if h.stopped != nil {
		h.stopped(q.ID)
	}
	return h.messages[q.ID], nil
}

// list answers with two letters a page.
func (h *house) list(_ context.Context, q bus.QueueQuery) (bus.QueuePage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := len(q.After) // one letter for each that was seen
	page := bus.QueuePage{Letters: h.dead[from:min(from+2, len(h.dead))]}
	if from+2 < len(h.dead) {
		page.Next = strings.Repeat("x", from+2)
	}
	return page, nil
}

func (h *house) drop(_ context.Context, a bus.QueueAction) (bus.QueueOutcome, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropped = append(h.dropped, a.IDs...)
	return bus.QueueOutcome{Messages: len(a.IDs)}, nil
}

// deleted is how many letters were dropped.
func (h *house) deleted() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.dropped)
}

func (h *house) environ(more ...string) []string {
	return append(more, "BLUFIO_DATA_DIR="+h.dir, "HOME="+h.dir)
}

// blufio runs a command against the house.
func (h *house) blufio(args ...string) (code int, stdout, stderr string) {
	return runMain(h.environ(), args...)
}

func runMain(environ []string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = Main(args, strings.NewReader(""), &out, &err, environ)
	return code, out.String(), err.String()
}
