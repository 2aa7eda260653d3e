// SPDX-License-Identifier: MIT OR Apache-2.0

// Command listener-go prints what happens in a blufio, one JSON object a line. It is
// an example: a program of its own, which knows nothing of blufio but bus/EVENTS.md.
//
//	blufio keys issue --role observer --name listener
//	go run ./contrib/examples/listener-go -context listener.json               # live
//	go run ./contrib/examples/listener-go -context listener.json -seq 1        # replay by number
//	go run ./contrib/examples/listener-go -context listener.json -since 2h     # replay by time
//
// A replay goes on live when it has caught up. It ends with code 1 and a sentence when
// the key may not hear what is asked for, or may not any more.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	prefix = "blufio.v1.evt." // of every event's subject
	stream = "EVENTS"         // keeps them
)

// options are the flags; each has a variable of the environment too.
type options struct {
	context, url, seed, inbox string
	events                    string
	seq                       uint64
	since                     time.Duration
	count                     int
}

// event is what is printed.
type event struct {
	Seq      uint64          `json:"seq,omitempty"`      // in the stream, for -seq; a live event does not say it
	Position int64           `json:"position,omitempty"` // in blufio's own log: the same live and replayed, and in every stream
	Event    string          `json:"event"`
	Payload  json.RawMessage `json:"payload"`
}

func main() {
	var o options
	flag.StringVar(&o.context, "context", os.Getenv("BLUFIO_CONTEXT"), "`file` with all three that follow, as blufio keys issue writes it")
	flag.StringVar(&o.url, "url", os.Getenv("BLUFIO_URL"), "address of the bus")
	flag.StringVar(&o.seed, "seed", os.Getenv("BLUFIO_SEED"), "`file` with the key's seed")
	flag.StringVar(&o.inbox, "inbox", os.Getenv("BLUFIO_INBOX"), "the key's inbox `prefix`")
	flag.StringVar(&o.events, "events", ">", "which events, as turn.* or budget.>")
	flag.Uint64Var(&o.seq, "seq", 0, "replay from this number in the stream")
	flag.DurationVar(&o.since, "since", 0, "replay what was stored this long ago or later")
	flag.IntVar(&o.count, "count", 0, "end after so many events; 0 is never")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		log.Fatal("listener-go: ", err)
	}
}

func run(ctx context.Context, o options) error {
	over := make(chan error, 1)
	nc, err := o.connect(over)
	if err != nil {
		return err
	}
	defer nc.Close()
	heard := make(chan event, 64) // one that is slow is cut off by the server, never waited for
	end, err := o.listen(ctx, nc, heard)
	if err != nil {
		return err
	}
	defer end()
	out := json.NewEncoder(os.Stdout)
	for n := 1; ; n++ {
		select {
		case e := <-heard:
			if err := out.Encode(e); err != nil {
				return err
			}
		case err := <-over:
			return err
		case <-ctx.Done():
			return nil
		}
		if n == o.count {
			return nil
		}
	}
}

// connect gets on the bus with the key. Why nothing will come any more is told to over.
func (o options) connect(over chan<- error) (*nats.Conn, error) {
	if o.context != "" {
		var c struct {
			URL   string `json:"url"`
			NKey  string `json:"nkey"`
			Inbox string `json:"inbox_prefix"`
		}
		data, err := os.ReadFile(o.context)
		if err == nil {
			err = json.Unmarshal(data, &c)
		}
		if err != nil {
			return nil, fmt.Errorf("read context: %w", err)
		}
		o.url, o.seed, o.inbox = cmp.Or(o.url, c.URL), cmp.Or(o.seed, c.NKey), cmp.Or(o.inbox, c.Inbox)
	}
	if o.url == "" || o.seed == "" || o.inbox == "" {
		return nil, errors.New("give -context, or -url, -seed and -inbox")
	}
	key, err := nats.NkeyOptionFromSeed(o.seed)
	if err != nil {
		return nil, fmt.Errorf("read seed: %w", err)
	}
	end := func(err error) {
		select {
		case over <- err:
		default: // the first reason is the one
		}
	}
	return nats.Connect(o.url, key, nats.Name("listener-go"), nats.CustomInboxPrefix(o.inbox), nats.MaxReconnects(-1),
		nats.ClosedHandler(func(nc *nats.Conn) { end(gone(nc.LastError())) }), // a client gives up when it is refused twice
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			switch {
			case errors.Is(err, nats.ErrPermissionViolation):
				end(o.refused(err))
			case !refusedKey(err):
				log.Print(err)
			}
		}))
}

// refused is that the key may not hear what was asked for.
func (o options) refused(err error) error {
	return fmt.Errorf("this key may not hear evt.%s; ask for fewer with -events: blufio keys show lists what it may (%w)", o.events, err)
}

func refusedKey(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked)
}

// gone says why the connection has ended for good.
func gone(err error) error {
	if refusedKey(err) {
		return errors.New("the bus does not let this key in any more: it was revoked or has expired")
	}
	return fmt.Errorf("the connection to the bus has ended: %w", err)
}

// listen begins to hear events: live ones, or those in the stream and then live ones.
func (o options) listen(ctx context.Context, nc *nats.Conn, heard chan<- event) (end func(), err error) {
	tell := func(e event) {
		select {
		case heard <- e:
		case <-ctx.Done():
		}
	}
	if o.seq == 0 && o.since == 0 {
		sub, err := nc.Subscribe(prefix+o.events, func(m *nats.Msg) { tell(read(m.Subject, m.Header, m.Data, 0)) })
		if err == nil {
			err = nc.Flush() // so that a refusal, and nothing else, comes before the first event
		}
		return func() { _ = sub.Unsubscribe() }, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{prefix + o.events}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: o.seq}
	if o.since > 0 {
		from := time.Now().Add(-o.since)
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &from
	}
	consumer, err := js.OrderedConsumer(ctx, stream, cfg)
	if refusal := (*jetstream.APIError)(nil); errors.As(err, &refusal) && refusal.Code == 403 {
		return nil, o.refused(err)
	}
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	replay, err := consumer.Consume(func(m jetstream.Msg) {
		seq := uint64(0)
		if meta, err := m.Metadata(); err == nil {
			seq = meta.Sequence.Stream
		}
		tell(read(m.Subject(), m.Headers(), m.Data(), seq))
	}, jetstream.PullMaxMessages(64)) // at most so many are on their way
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	return replay.Stop, nil
}

func read(subject string, header nats.Header, data []byte, seq uint64) event {
	position, err := strconv.ParseInt(header.Get("Blufio-Seq"), 10, 64)
	if err != nil {
		position = 0 // not blufio's own
	}
	if !json.Valid(data) {
		data = []byte("null")
	}
	return event{Seq: seq, Position: position, Event: strings.TrimPrefix(subject, "blufio.v1."), Payload: data}
}
