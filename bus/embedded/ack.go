// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// ackWindow matches the stream's answers with the events they belong to. Each
// event in flight has a reply subject of its own, places in the window and a
// timer, all given back by whoever takes it out of the map first: the answer,
// the timer, cancel or close.
type ackWindow struct {
	prefix  string // of the reply subjects; made per boot
	timeout time.Duration
	places  *semaphore.Weighted

	mu      sync.Mutex
	waiting map[string]*inFlight // by reply subject
	next    uint64
	err     error // why the latest answer was not good
	closed  bool
}

type inFlight struct {
	places int64
	done   func(Ack, error)
	timer  *time.Timer
}

func (w *ackWindow) init(prefix string, timeout time.Duration) {
	w.prefix, w.timeout = prefix, timeout
	w.places = semaphore.NewWeighted(window)
	w.waiting = make(map[string]*inFlight)
}

// reserve takes places for an event of that many bytes and returns the subject to be
// answered to. Without them, or when closed, it returns false.
func (w *ackWindow) reserve(ctx context.Context, bytes int, done func(Ack, error)) (reply string, ok bool) {
	n := min(1+int64(bytes)/placeBytes, window) // what is larger than the bus carries is refused later
	if !w.places.TryAcquire(n) && (w.failing() != nil || w.places.Acquire(ctx, n) != nil) {
		return "", false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		w.places.Release(n)
		return "", false
	}
	w.next++
	reply = w.prefix + "." + strconv.FormatUint(w.next, 36)
	w.waiting[reply] = &inFlight{places: n, done: done, timer: time.AfterFunc(w.timeout, func() {
		w.settle(reply, Ack{}, fmt.Errorf("%w within %s", ErrNoAck, w.timeout))
	})}
	return reply, true
}

// held is how many bytes have places.
func (w *ackWindow) held() (bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.waiting {
		bytes += f.places * placeBytes
	}
	return bytes
}

// take removes an event from the window; only the first caller gets it.
func (w *ackWindow) take(reply string) *inFlight {
	w.mu.Lock()
	f := w.waiting[reply]
	delete(w.waiting, reply)
	w.mu.Unlock()
	if f != nil {
		f.timer.Stop()
		w.places.Release(f.places)
	}
	return f
}

func (w *ackWindow) cancel(reply string) { w.take(reply) }

// settle ends the wait for one event. A late answer finds nobody waiting, but
// is news about the stream all the same.
func (w *ackWindow) settle(reply string, ack Ack, err error) {
	f := w.take(reply)
	w.mu.Lock()
	w.err = err
	w.mu.Unlock()
	if f != nil {
		f.done(ack, err)
	}
}

// heard is called with each answer of the stream.
func (w *ackWindow) heard(m *nats.Msg) {
	ack, err := parseAck(m.Data)
	w.settle(m.Subject, ack, err)
}

// parseAck reads JetStream's answer to a publish.
func parseAck(data []byte) (Ack, error) {
	var answer struct {
		Stream    string              `json:"stream"`
		Seq       uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
		Error     *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(data, &answer); {
	case err != nil:
		return Ack{}, fmt.Errorf("read acknowledgement: %w", err)
	case answer.Error != nil:
		return Ack{}, fmt.Errorf("store event: %s", strings.TrimPrefix(answer.Error.Error(), "nats: "))
	case answer.Stream != streamName || answer.Seq == 0:
		return Ack{}, fmt.Errorf("read acknowledgement: not from %s", streamName)
	}
	return Ack{Seq: answer.Seq, Duplicate: answer.Duplicate}, nil
}

// failing is why the latest answer was not good, nil if it was.
func (w *ackWindow) failing() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// recovered forgets the failures of the stream before it was opened again.
func (w *ackWindow) recovered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = nil
}

// close tells everyone who waits, and lets no one wait any more.
func (w *ackWindow) close() {
	w.mu.Lock()
	w.closed, w.err = true, ErrClosed
	replies := make([]string, 0, len(w.waiting))
	for reply := range w.waiting {
		replies = append(replies, reply)
	}
	w.mu.Unlock()
	for _, reply := range replies {
		w.settle(reply, Ack{}, ErrClosed)
	}
}
