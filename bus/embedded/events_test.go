// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"github.com/nats-io/nats.go/jetstream"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

const tick = "blufio.v1.evt.clock.ticked"

func TestPublishIsHeardAndStored(t *testing.T) {
	s, e := startWithEvents(t, nil)
	room := listen(t, house(t, s, "agent"), "blufio.v1.evt.>")
	observer := listen(t, watch(t, s, "observer"), "blufio.v1.evt.>")

	ack := mustPublish(t, e, Event{Subject: tick, ID: "a", Header: nats.Header{"Blufio-Seq": {"7"}}, Data: []byte("x")})
	if ack.Seq != 1 || ack.Duplicate {
		t.Errorf("ack = %+v", ack)
	}
	for _, sub := range []*nats.Subscription{room, observer} {
		if m := next(t, sub); string(m.Data) != "x" || m.Header.Get("Blufio-Seq") != "7" || m.Header.Get(nats.MsgIdHdr) != "a" {
			t.Errorf("heard %q %v", m.Data, m.Header)
		}
	}
	if ack := mustPublish(t, e, Event{Subject: tick, ID: "a"}); !ack.Duplicate || ack.Seq != 1 {
		t.Errorf("second ack = %+v", ack)
	}
	if st := state(t, e); st.Msgs != 1 || st.First != 1 || st.Last != 1 || st.Epoch == "" || st.LastTime.IsZero() {
		t.Errorf("state = %+v", st)
	}
	if err := e.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
}

// The rooms have heard these events before: storing them again is between the
// relay and the stream.
func TestStoreIsNotHeardByRooms(t *testing.T) {
	s, e := startWithEvents(t, nil)
	room := house(t, s, "agent")
	all := listen(t, room, ">")
	if ack, err := e.storeAndWait(t, Event{Subject: tick, ID: "a"}); err != nil || ack.Seq != 1 {
		t.Errorf("%+v, %v", ack, err)
	}
	if ack, err := e.storeAndWait(t, Event{Subject: tick, ID: "a"}); err != nil || !ack.Duplicate {
		t.Errorf("%+v, %v", ack, err)
	}
	silent(t, all, marker(t, room))
}

// Many more events than fit in the window at once are stored, in their order.
func TestPublishManyInOrder(t *testing.T) {
	_, e := startWithEvents(t, nil)
	const count = 5000
	answers := make(chan outcome, count)
	began := time.Now()
	for i := range count {
		err := e.Publish(deadline(t), Event{Subject: tick, ID: fmt.Sprint(i), Data: make([]byte, 128)},
			func(a Ack, err error) { answers <- outcome{a, err} })
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range count {
		if o := <-answers; o.err != nil || o.ack.Seq != uint64(i+1) {
			t.Fatalf("answer %d: %+v", i, o)
		}
	}
	t.Logf("%.0f events/s", count/time.Since(began).Seconds())
	if st := state(t, e); st.Msgs != count {
		t.Errorf("stored %d", st.Msgs)
	}
}

func TestLast(t *testing.T) {
	s, e := startWithEvents(t, nil)
	const header = "Blufio-Seq"
	if m, err := e.Last(deadline(t), header); m != nil || err != nil {
		t.Errorf("empty stream: %v, %v", m, err)
	}
	mustPublish(t, e, Event{Subject: tick, ID: "a", Header: nats.Header{header: {"41"}}})
	mustPublish(t, e, Event{Subject: tick, ID: "b", Header: nats.Header{header: {"42"}}, Data: []byte("x")})
	// A room's own publication lies behind it.
	room := house(t, s, "agent")
	if err := room.Publish(tick, nil); err != nil {
		t.Fatal(err)
	}
	flush(t, room)
	mustPublish(t, e, Event{Subject: tick, ID: "c"})
	m, err := e.Last(deadline(t), header)
	if err != nil || m == nil || m.Header.Get(header) != "42" || string(m.Data) != "x" || m.Sequence != 2 {
		t.Errorf("%+v, %v", m, err)
	}
	if st := state(t, e); st.Msgs != 4 {
		t.Errorf("state %+v", st)
	}
}

// A room keeps a live event out of the stream by naming another stream.
func TestLiveOnlyEventIsHeardButNotStored(t *testing.T) {
	s, e := startWithEvents(t, nil)
	room, observer := house(t, s, "agent"), watch(t, s, "observer")
	sub := listen(t, observer, tick)
	msg := nats.NewMsg(tick)
	msg.Header.Set(nats.ExpectedStreamHdr, "none")
	if err := room.PublishMsg(msg); err != nil {
		t.Fatal(err)
	}
	next(t, sub)
	if ack := mustPublish(t, e, Event{Subject: tick, ID: "a"}); ack.Seq != 1 {
		t.Errorf("seq = %d", ack.Seq)
	}
	if err := e.Err(); err != nil {
		t.Error(err)
	}
}

// While the stream is closed the rooms hear every event at once, and the
// publisher learns that it was not stored.
func TestRoomsHearEventsWithoutTheStream(t *testing.T) {
	s, e := startWithEvents(t, nil)
	e.acks.timeout = 20 * time.Millisecond
	if err := s.closeStream(); err != nil {
		t.Fatal(err)
	}
	if err := e.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("Err = %v", err)
	}
	room := listen(t, house(t, s, "agent"), tick)
	const count = 3 * window
	answers := make(chan error, count)
	for i := range count {
		if err := e.Publish(deadline(t), Event{Subject: tick, ID: fmt.Sprint(i)}, func(_ Ack, err error) { answers <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for range count {
		next(t, room)
		if err := <-answers; !errors.Is(err, ErrNoAck) && !errors.Is(err, ErrWindowFull) {
			t.Fatalf("err = %v", err)
		}
	}
	if _, err := s.OpenEvents(deadline(t)); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, e, Event{Subject: tick, ID: "after"})
	if err := e.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
}

// A full window makes Store wait and Publish publish.
func TestFullWindow(t *testing.T) {
	s, e := startWithEvents(t, nil)
	for range window {
		if _, ok := e.acks.reserve(t.Context(), 0, func(Ack, error) {}); !ok {
			t.Fatal("no place")
		}
	}
	room := listen(t, house(t, s, "agent"), tick)
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := e.Store(short, Event{Subject: tick, ID: "a"}, nil); !errors.Is(err, ErrWindowFull) {
		t.Errorf("Store: %v", err)
	}
	var got error
	if err := e.Publish(short, Event{Subject: tick, ID: "b"}, func(_ Ack, err error) { got = err }); err != nil {
		t.Error(err)
	}
	if !errors.Is(got, ErrWindowFull) {
		t.Errorf("Publish: %v", got)
	}
	next(t, room)
}

func TestCloseAnswersEveryone(t *testing.T) {
	s, e := startWithEvents(t, nil)
	if err := s.closeStream(); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 1)
	if err := e.Publish(deadline(t), Event{Subject: tick, ID: "a"}, func(_ Ack, err error) { answers <- err }); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	if err := <-answers; !errors.Is(err, ErrClosed) {
		t.Errorf("err = %v", err)
	}
	if err := e.Publish(deadline(t), Event{Subject: tick, ID: "b"}, func(Ack, error) { t.Error("called") }); err == nil {
		t.Error("published after shutdown")
	}
	wantNoneWaiting(t, e)
}

func TestTooLargeAnEventIsRefused(t *testing.T) {
	_, e := startWithEvents(t, nil)
	err := e.Publish(deadline(t), Event{Subject: tick, ID: "a", Data: make([]byte, maxPayload+1)}, func(Ack, error) { t.Error("called") })
	if !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("err = %v", err)
	}
	wantNoneWaiting(t, e)
}

// wantNoneWaiting holds that all places are free.
func wantNoneWaiting(t *testing.T, e *Events) {
	t.Helper()
	if held := e.WaitingBytes(); held != 0 || len(e.acks.waiting) != 0 || !e.acks.places.TryAcquire(window) {
		t.Errorf("%d events wait, with places for %d bytes", len(e.acks.waiting), held)
	}
}

// Large events take more places than small ones.
func TestWindowIsBoundedInBytes(t *testing.T) {
	_, e := startWithEvents(t, nil)
	const large = maxPayload / 2
	over, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits for a place
	var replies []string
	for {
		reply, ok := e.acks.reserve(over, large, func(Ack, error) {})
		if !ok {
			break
		}
		replies = append(replies, reply)
	}
	held := e.WaitingBytes()
	if waiting := int64(len(replies) * large); waiting > held || held > MaxWaitingBytes || waiting < MaxWaitingBytes*7/8 {
		t.Errorf("%d events of %d bytes wait, in places for %d of %d", len(replies), large, held, MaxWaitingBytes)
	}
	if err := e.Store(over, Event{Subject: tick, ID: "a", Data: make([]byte, large)}, nil); !errors.Is(err, ErrWindowFull) {
		t.Errorf("Store: %v", err)
	}
	e.acks.cancel(replies[0])
	if ack, err := e.storeAndWait(t, Event{Subject: tick, ID: "a", Data: make([]byte, large)}); err != nil || ack.Seq != 1 {
		t.Errorf("%+v, %v", ack, err)
	}
	for _, reply := range replies {
		e.acks.cancel(reply)
	}
	wantNoneWaiting(t, e)
}

// What the stream has no room to queue is refused, and heard all the same.
func TestFullIngestRefuses(t *testing.T) {
	s, e := startWithEvents(t, func(c *Config) { c.ingest = 16 << 10 })
	room := listen(t, house(t, s, "agent"), tick)
	_, err := e.publishAndWait(t, Event{Subject: tick, ID: "a", Data: make([]byte, 32<<10)})
	if err == nil || !strings.Contains(err.Error(), "too many requests") {
		t.Errorf("err = %v", err)
	}
	next(t, room)
	mustPublish(t, e, Event{Subject: tick, ID: "b"})
}

// A stock client replays the stream from WATCH.
func TestStockClientReplays(t *testing.T) {
	s, e := startWithEvents(t, nil)
	for i := range 10 {
		mustPublish(t, e, Event{Subject: tick, ID: fmt.Sprint(i), Data: fmt.Append(nil, i)})
	}
	js, err := jetstream.New(watch(t, s, "observer"))
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(deadline(t), streamName, jetstream.OrderedConsumerConfig{FilterSubjects: []string{tick}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		m, err := consumer.Next(jetstream.FetchMaxWait(patience))
		if err != nil || string(m.Data()) != fmt.Sprint(i) {
			t.Fatalf("event %d: %v", i, err)
		}
	}
}

func TestParseAck(t *testing.T) {
	for data, ok := range map[string]bool{
		`{"stream":"EVENTS","seq":1}`:                  true,
		`{"stream":"EVENTS","seq":1,"duplicate":true}`: true,
		`{"stream":"EVENTS","seq":0}`:                  false,
		`{"stream":"OTHER","seq":1}`:                   false,
		`{"error":{"code":503,"description":"full"}}`:  false,
		`{`: false,
		``:  false,
	} {
		if _, err := parseAck([]byte(data)); (err == nil) != ok {
			t.Errorf("%q: %v", data, err)
		}
	}
}

func FuzzParseAck(f *testing.F) {
	f.Add([]byte(`{"stream":"EVENTS","seq":1,"duplicate":true}`))
	f.Add([]byte(`{"error":{"code":503,"err_code":10077,"description":"full"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if ack, err := parseAck(data); (ack.Seq == 0) == (err == nil) {
			t.Fatalf("%+v, %v", ack, err)
		}
	})
}

// A stream whose disk fails stays dead when the disk is well again, until it is
// opened again. What it held stays.
func TestReopenAfterAWriteError(t *testing.T) {
	s, e := startWithEvents(t, func(c *Config) { c.EventsMB = 1 })
	e.acks.timeout = 100 * time.Millisecond
	room := listen(t, house(t, s, "agent"), tick)
	msgs := filepath.Join(s.cfg.streamDir(), "msgs")
	// A file in place of the directory: the next block cannot be made.
	if err := errors.Join(os.Rename(msgs, msgs+".away"), os.WriteFile(msgs, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 256<<10)
	var failed error
	for i := 0; e.Err() == nil && i < 100; i++ { // one answer may be late where others work too
		_, failed = e.publishAndWait(t, Event{Subject: tick, ID: fmt.Sprint(i), Data: big})
		next(t, room)
	}
	if !errors.Is(failed, ErrNoAck) || !errors.Is(e.Err(), ErrNoAck) {
		t.Fatalf("answer %v, Err %v", failed, e.Err())
	}
	if err := errors.Join(os.Remove(msgs), os.Rename(msgs+".away", msgs)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenEvents(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if ack := mustPublish(t, e, Event{Subject: tick, ID: "after"}); ack.Seq < 2 || e.Err() != nil {
		t.Errorf("ack %+v, Err %v", ack, e.Err())
	}
}
