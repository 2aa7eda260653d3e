// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/nats-io/nats.go/jetstream"
)

// streamLimit is for reading the whole stream.
const streamLimit = time.Minute

// happened counts the events of one message, by subject.
type happened map[string]int

// replay is what the stream holds.
type replay struct {
	found     *findings
	epoch     string
	highest   int64
	positions map[int64][32]byte // of subject and payload, in short
	gaps      int64              // positions that the relay says are gone
	byMessage map[string]happened
	totals    happened
}

// stream wants every event up to position last in the stream once and in order,
// and of every message what has to be told of it.
func (f *findings) stream(t *testing.T, p plan, last int64) {
	t.Helper()
	r := &replay{found: f, positions: map[int64][32]byte{}, byMessage: map[string]happened{}, totals: happened{}}
	store := openReadOnly(t, p)
	defer closeStore(t, store)
	scan(t, store, `SELECT epoch FROM event_state`, &r.epoch)
	if err := r.read(t, p); err != nil {
		t.Fatalf("read event stream: %v", err)
	}
	if missing := last - r.upTo(last); missing != r.gaps {
		f.problem("the stream lacks %d of %d events, %d are reported as a gap", missing, last, r.gaps)
	}
	each(t, store, fmt.Sprintf(`SELECT seq, subject, payload FROM event WHERE seq <= %d`, last), func(row scanner) {
		var seq int64
		var subject string
		var payload []byte
		row(&seq, &subject, &payload)
		if got, ok := r.positions[seq]; ok && got != digest(subject, payload) {
			f.problem("event %d of the stream is not that of the event log", seq)
		}
	})
	if r.gaps == 0 {
		r.complete()
	}
}

// complete wants the events of every message.
func (r *replay) complete() {
	for id, m := range r.found.messages {
		got := r.byMessage[id]
		want := happened{"evt.message.received": 1, "evt.reply.delivered": 1, "evt.cost.recorded": modelCalls(m.n)}
		if m.n%kinds == remember {
			want["evt.tool.called"] = 1
		}
		switch m.state {
		case bus.StateFailed:
			want["evt.turn.failed"] = 1
			want["evt.cost.recorded"], want["evt.tool.called"] = got["evt.cost.recorded"], got["evt.tool.called"]
		case bus.StateDead:
			want["evt.message.died"] = 1
			want["evt.cost.recorded"], want["evt.tool.called"] = got["evt.cost.recorded"], got["evt.tool.called"]
			if n := got["evt.turn.interrupted"]; n != maxCrashes {
				r.found.problem("message %s is dead after %d crashes", id, n)
			}
		default:
			want["evt.turn.completed"] = 1
		}
		for _, event := range []string{"evt.message.received", "evt.message.died", "evt.turn.completed", "evt.turn.failed",
			"evt.tool.called", "evt.cost.recorded", "evt.reply.delivered", "evt.reply.died"} {
			if got[event] != want[event] {
				r.found.problem("message %s (%s %d) has %d events %s, want %d", id, m.speaker.session(), m.n, got[event], event, want[event])
			}
		}
	}
	if n := int64(r.totals["evt.turn.interrupted"]); n != r.found.interrupted {
		r.found.problem("%d events tell of interrupted turns, the status of %d", n, r.found.interrupted)
	}
}

// read opens the stopped daemon's stream and reads it with an ordinary consumer.
func (r *replay) read(t *testing.T, p plan) error {
	ctx, cancel := context.WithTimeout(t.Context(), streamLimit)
	defer cancel()
	device, err := embedded.LoadDevice(p.data())
	if err != nil {
		return err
	}
	server, err := embedded.Start(ctx, embedded.Config{Listen: "127.0.0.1:0", EventsMB: 1024, Device: device, Dir: filepath.Join(p.data(), "events")})
	if err != nil {
		return err
	}
	defer func() {
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}()
	events, err := server.OpenEvents(ctx)
	if err != nil {
		return err
	}
	state, err := events.State(ctx)
	if err != nil || state.Msgs == 0 {
		return err
	}
	nc, err := server.ConnectWatch("reader")
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return r.consume(ctx, js, state.Last)
}

func (r *replay) consume(ctx context.Context, js jetstream.JetStream, last uint64) error {
	consumer, err := js.OrderedConsumer(ctx, "EVENTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if err := r.take(msg); err != nil {
			return fmt.Errorf("message %d: %w", meta.Sequence.Stream, err)
		}
		if meta.Sequence.Stream >= last {
			return nil
		}
	}
}

// take notes one event.
func (r *replay) take(msg jetstream.Msg) error {
	position, err := strconv.ParseInt(msg.Headers().Get(bus.HeaderSeq), 10, 64)
	if err != nil {
		return err
	}
	if got := msg.Headers().Get(bus.HeaderEpoch); got != r.epoch {
		r.found.problem("event %d is of epoch %s, the event log of %s", position, got, r.epoch)
	}
	if position <= r.highest {
		r.found.problem("event %d comes after %d", position, r.highest)
	}
	r.highest = position
	r.positions[position] = digest(msg.Subject(), msg.Data())
	var fact struct {
		MessageID string `json:"message_id"`
		From      int64  `json:"from"`
		To        int64  `json:"to"`
	}
	name := msg.Subject()[len(bus.Prefix):]
	if name == "evt.health.changed" { // its from is a state
		return nil
	}
	if err := json.Unmarshal(msg.Data(), &fact); err != nil {
		return err
	}
	r.totals[name]++
	if name == bus.StreamGap.Spec().Name {
		r.gaps += fact.To - fact.From + 1
	}
	if fact.MessageID != "" {
		if r.byMessage[fact.MessageID] == nil {
			r.byMessage[fact.MessageID] = happened{}
		}
		r.byMessage[fact.MessageID][name]++
	}
	return nil
}

// upTo counts the positions up to last.
func (r *replay) upTo(last int64) (n int64) {
	for position := range r.positions {
		if position <= last {
			n++
		}
	}
	return n
}

func digest(subject string, payload []byte) [32]byte {
	return sha256.Sum256(bytes.Join([][]byte{[]byte(subject), payload}, []byte{0}))
}
