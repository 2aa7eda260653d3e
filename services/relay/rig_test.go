// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const deadline = 10 * time.Second // for what must happen; a failing test waits so long

var errAway = errors.New("away")

// rig is a bus, a database and listeners, around relays that come and go.
type rig struct {
	b     *bustest.Bus
	store *sqlite.Store
	log   *eventlog.Log
	house *nats.Subscription // hears what rooms hear
	watch *nats.Subscription // hears also what is only stored
	js    jetstream.JetStream
	n     int // events recorded
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{b: bustest.New(t)}
	r.use(roomtest.Store(t))
	house, watch := connection(t, r.b.Server().ConnectHouse), connection(t, r.b.Server().ConnectWatch)
	r.house, r.watch = listen(t, house), listen(t, watch)
	js, err := jetstream.New(watch)
	if err != nil {
		t.Fatal(err)
	}
	r.js = js
	return r
}

// use takes a database.
func (r *rig) use(store *sqlite.Store) { r.store, r.log = store, eventlog.New(store) }

func connection(t *testing.T, connect func(string, ...nats.Option) (*nats.Conn, error)) *nats.Conn {
	t.Helper()
	nc, err := connect("listener")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func listen(t *testing.T, nc *nats.Conn) *nats.Subscription {
	t.Helper()
	sub, err := nc.SubscribeSync(bus.Facts)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sub.SetPendingLimits(-1, -1), nc.FlushTimeout(deadline)); err != nil {
		t.Fatal(err)
	}
	return sub
}

// start runs a new relay, as after a restart of the daemon; quick retries.
func (r *rig) start(t *testing.T, change func(*Service)) (s *Service, stop func()) {
	t.Helper()
	open := make(chan struct{})
	close(open)
	s = New(r.log, r.b.Server(), open, bustest.Logger(t))
	s.bounds.retryFirst, s.bounds.retryMost = 10*time.Millisecond, 200*time.Millisecond
	s.bounds.noteEvery = 20 * time.Millisecond
	if change != nil {
		change(s)
	}
	return s, roomtest.Start(t, r.b, s)
}

// record writes n events, in transactions of up to a hundred.
func (r *rig) record(t *testing.T, n int) {
	t.Helper()
	for n > 0 {
		facts := make([]bus.RestartedFact, min(n, 100))
		for i := range facts {
			r.n++
			facts[i] = bus.RestartedFact{Service: "test", Restarts: r.n}
		}
		r.writeAll(t, facts...)
		n -= len(facts)
	}
}

// writeAll records facts in one transaction.
func (r *rig) writeAll(t *testing.T, facts ...bus.RestartedFact) {
	t.Helper()
	err := r.store.Write(t.Context(), func(tx *sqlite.Tx) error {
		for _, f := range facts {
			if err := eventlog.Record(r.log, tx, bus.RoomRestarted, f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sql changes the database behind the log's back.
func (r *rig) sql(t *testing.T, statements string) {
	t.Helper()
	err := r.store.Write(t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(statements); return err })
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) state(t *testing.T) eventlog.State {
	t.Helper()
	st, err := r.log.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// hears expects the rooms to hear exactly the positions from to to next.
func (r *rig) hears(t *testing.T, from, to int64) {
	t.Helper()
	for seq := from; seq <= to; seq++ {
		m, err := r.house.NextMsg(deadline)
		if err != nil {
			t.Fatalf("event %d is not heard: %v", seq, err)
		}
		if position(t, m.Header) != seq {
			t.Fatalf("heard %d, want %d", position(t, m.Header), seq)
		}
	}
}

// quiet expects that the rooms have heard nothing more.
func (r *rig) quiet(t *testing.T) {
	t.Helper()
	if m, err := r.house.NextMsg(time.Millisecond); err == nil {
		t.Errorf("heard %s %v too", m.Subject, m.Header)
	}
}

// handedOut returns the positions that were given to the stream so far.
func (r *rig) handedOut(t *testing.T) (seqs []int64) {
	t.Helper()
	for {
		m, err := r.watch.NextMsg(5 * time.Millisecond)
		if err != nil {
			return seqs
		}
		if m.Header.Get(nats.ExpectedStreamHdr) == "" {
			seqs = append(seqs, position(t, m.Header))
		}
	}
}

func position(t *testing.T, h nats.Header) int64 {
	t.Helper()
	seq, err := strconv.ParseInt(h.Get(bus.HeaderSeq), 10, 64)
	if err != nil || h.Get(bus.HeaderEpoch) == "" {
		t.Fatalf("no position in %v", h)
	}
	return seq
}

// stored returns what the stream holds: the positions, oldest first, and the
// epochs of the log that they count in.
func (r *rig) stored(t *testing.T) (seqs []int64, epochs []string) {
	t.Helper()
	stream, err := r.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		return nil, nil // not there yet
	}
	st := stream.CachedInfo().State
	for n := st.FirstSeq; n > 0 && n <= st.LastSeq; n++ {
		m, err := stream.GetMsg(t.Context(), n)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, nil
		}
		seqs, epochs = append(seqs, position(t, m.Header)), append(epochs, m.Header.Get(bus.HeaderEpoch))
	}
	return seqs, slices.Compact(epochs)
}

// holds waits until the stream holds exactly these positions.
func (r *rig) holds(t *testing.T, want ...int64) {
	t.Helper()
	var got []int64
	bustest.Eventually(t, fmt.Sprintf("the stream holds %v", want), func() bool {
		if got, _ = r.stored(t); len(got) > len(want) {
			t.Fatalf("the stream holds %v, want %v", got, want)
		}
		return slices.Equal(got, want)
	}, func() any { return got })
}

// noted waits until the database knows that seq is stored.
func (r *rig) noted(t *testing.T, seq int64) {
	t.Helper()
	bustest.Eventually(t, fmt.Sprintf("%d is noted", seq), func() bool { return r.state(t).Relayed == seq })
}

func to(n int64) (seqs []int64) { return span(1, n) }

func span(from, to int64) (seqs []int64) {
	for seq := from; seq <= to; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

// gaps returns the evt.stream.gap in the log.
func (r *rig) gaps(t *testing.T) (out []string) {
	t.Helper()
	for _, row := range roomtest.Events(t, r.log) {
		if row.Subject == bus.StreamGap.Spec().Subject() {
			out = append(out, string(row.Payload))
		}
	}
	return out
}

// stream stands in the way of the real one.
type stream struct {
	Stream
	open func(ctx context.Context) error // its error is OpenEvents's
}

func (s *stream) OpenEvents(ctx context.Context) (*embedded.Events, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s.Stream.OpenEvents(ctx)
}
