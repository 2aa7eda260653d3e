// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	window      = 256             // places for events that wait for their acknowledgement
	placeBytes  = 32 << 10        // of an event in one place
	ackTimeout  = 5 * time.Second // after which one is given up
	maxLookback = 10_000          // messages that Last reads at most
	bufferBytes = 1 << 20         // published while an in-process connection comes back
)

// MaxWaitingBytes is the bound of [Events.WaitingBytes].
const MaxWaitingBytes = window * placeBytes

// Reasons for which an event may not be stored.
var (
	ErrWindowFull = errors.New("too many events wait to be stored")
	ErrNoAck      = errors.New("the event stream did not answer")
	ErrClosed     = errors.New("the event stream is closed")
)

// Event is one fact to publish.
type Event struct {
	Subject string      // blufio.v1.evt.…
	ID      string      // unique; the stream stores it once within 10 seconds
	Header  nats.Header // may be nil; not changed
	Data    []byte      // up to 1 MiB together with the header; not to be changed until stored
}

// Ack is the stream's answer.
type Ack struct {
	Seq       uint64 // its number in the stream; numbers start again after Recreate
	Duplicate bool   // the ID was there already
}

// State is what the stream holds.
type State struct {
	Epoch       string // changes when the stream is begun anew
	First, Last uint64 // numbers of the oldest and the newest message
	Msgs, Bytes uint64
	LastTime    time.Time // when the newest was stored
}

// Events is the event stream. Its methods may be called concurrently; events
// published one after another are stored in that order.
type Events struct {
	server *Server
	house  *nats.Conn // publishes where rooms hear it
	watch  *nats.Conn // publishes past the rooms, and hears the acknowledgements
	js     jetstream.JetStream
	acks   ackWindow
	stream atomic.Pointer[openStream]
}

type openStream struct {
	jetstream.Stream
	epoch string
}

func (s *Server) newEvents() (*Events, error) {
	house, err := s.ConnectHouse("events", nats.ReconnectBufSize(bufferBytes))
	if err != nil {
		return nil, err
	}
	watch, err := s.ConnectWatch("events", nats.ReconnectBufSize(bufferBytes), nats.SyncQueueLen(readCount+1)) // left alone, each read would make room for 65 536
	if err != nil {
		house.Close()
		return nil, err
	}
	e := &Events{server: s, house: house, watch: watch}
	e.acks.init("_ACK."+nuid.Next(), ackTimeout)
	if e.js, err = jetstream.New(watch); err == nil {
		_, err = bus.Listen(watch, e.acks.prefix+".*", e.acks.heard)
	}
	if err != nil {
		e.close()
		return nil, fmt.Errorf("listen for acknowledgements: %w", err)
	}
	return e, nil
}

func (e *Events) reopened(stream jetstream.Stream) {
	e.stream.Store(&openStream{stream, epochOf(stream)})
	e.acks.recovered()
}

// Publish makes the event heard by the rooms and by observers, and stores it.
// The rooms hear it in any case: when 256 events, or 8 MiB, wait for their answer it
// waits for some of them until ctx ends, not at all while the stream is failing,
// and then publishes the event without awaiting its answer.
//
// done is called once, with nil once the event is stored (written, not yet
// synced to disk). After any error the event may or may not be stored; Store it
// again. done runs on the goroutine that reads the answers: it must not block.
// When Publish itself returns an error, nobody heard the event and done is not
// called.
func (e *Events) Publish(ctx context.Context, ev Event, done func(Ack, error)) error {
	reply, waiting := e.acks.reserve(ctx, len(ev.Data), done)
	if err := publish(e.house, ev, reply); err != nil {
		e.acks.cancel(reply)
		return err
	}
	if !waiting {
		done(Ack{}, ErrWindowFull)
	}
	return nil
}

// Announce makes the event heard by the rooms and by observers, in order with
// what is published, and keeps it out of the stream: one that is to be stored
// later, behind others that the stream still lacks. When it returns an error,
// nobody heard the event.
func (e *Events) Announce(ev Event) error {
	header := nats.Header{nats.ExpectedStreamHdr: {"none"}} // the stream refuses what is meant for another
	for k, v := range ev.Header {
		header[k] = v
	}
	ev.Header = header
	return publish(e.house, ev, "")
}

// Store stores an event that the rooms and observers have heard before: one that
// was lost with the stream, or never acknowledged. Nobody hears it again. It waits for a place until ctx ends and returns
// ErrWindowFull then. done is as for Publish.
//
// Order is kept among stores and among publishes, not between the two: let all
// answers arrive before changing from one to the other.
func (e *Events) Store(ctx context.Context, ev Event, done func(Ack, error)) error {
	reply, waiting := e.acks.reserve(ctx, len(ev.Data), done)
	if !waiting {
		return fmt.Errorf("store event %s: %w", ev.ID, ErrWindowFull)
	}
	if err := publish(e.watch, ev, reply); err != nil {
		e.acks.cancel(reply)
		return err
	}
	return nil
}

func publish(nc *nats.Conn, ev Event, reply string) error {
	msg := nats.NewMsg(ev.Subject)
	msg.Reply, msg.Data = reply, ev.Data
	for k, v := range ev.Header {
		msg.Header[k] = v
	}
	msg.Header.Set(nats.MsgIdHdr, ev.ID)
	if err := nc.PublishMsg(msg); err != nil {
		return fmt.Errorf("publish event %s: %w", ev.ID, err)
	}
	return nil
}

// WaitingBytes is what waits for the stream's answer, in whole places of 32 KiB; at most
// [MaxWaitingBytes].
func (e *Events) WaitingBytes() int64 { return e.acks.held() }

// State asks the stream what it holds.
func (e *Events) State(ctx context.Context) (State, error) {
	stream := e.stream.Load()
	if stream == nil {
		return State{}, ErrClosed
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return State{}, fmt.Errorf("read state of event stream: %w", err)
	}
	st := info.State
	return State{
		Epoch: stream.epoch, First: st.FirstSeq, Last: st.LastSeq, Msgs: st.Msgs, Bytes: st.Bytes, LastTime: st.LastTime,
	}, nil
}

// Last returns the newest message that carries the header, nil if there is
// none among the last 10 000. Events that rooms publish by themselves are in
// the stream too, without the relay's header.
func (e *Events) Last(ctx context.Context, header string) (*jetstream.RawStreamMsg, error) {
	st, err := e.State(ctx)
	if err != nil {
		return nil, err
	}
	stream := e.stream.Load()
	for seq := st.Last; seq > 0 && seq >= st.First && st.Last-seq < maxLookback; seq-- {
		msg, err := stream.GetMsg(ctx, seq)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return nil, fmt.Errorf("read event %d: %w", seq, err)
		case msg.Header.Get(header) != "":
			return msg, nil
		}
	}
	return nil, nil
}

// Err is the evidence that events are not being stored: JetStream has closed
// itself, or the latest answers were refusals or did not come. Nil means that
// the latest answer was good, or that none was asked for since the stream was
// opened.
func (e *Events) Err() error {
	watch, err := e.server.ns.LookupAccount(accountWatch)
	if err != nil {
		return fmt.Errorf("find account: %w", err)
	}
	if !e.server.ns.JetStreamEnabled() || !watch.JetStreamEnabled() || e.stream.Load() == nil {
		return ErrClosed
	}
	return e.acks.failing()
}

// close ends the connections; every event still waiting gets ErrClosed.
func (e *Events) close() {
	e.house.Close()
	e.watch.Close()
	e.acks.close()
}

func (s *Server) closeEvents() {
	s.opening.Lock()
	defer s.opening.Unlock()
	s.stopped = true
	if s.events != nil {
		s.events.close()
	}
}
