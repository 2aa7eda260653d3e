// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	directGet   = "$JS.API.DIRECT.GET." + streamName
	readTimeout = 5 * time.Second // when the caller sets no deadline
	// What one request may bring beside its last message. The server cuts a
	// client off for whom more than maxPending waits.
	readBytes = 128 << 10
	// And how many messages, the word that it was all not among them.
	readCount = 512
)

// Stored is one message of the stream.
type Stored struct {
	Seq     uint64    // its number
	Time    time.Time // when it was stored
	Subject string
	Header  nats.Header // the publisher's, with the stream's own
	Data    []byte
}

// Read returns messages of the stream in order, beginning with the first whose
// number is from or higher: at most limit, and none behind the one with which
// their data exceeds maxBytes. None at all means that there are no more. It waits
// until ctx ends, for 5 s when that has no deadline. The error is [ErrClosed]
// while the stream is closed.
//
// The server sends many messages for one request: 500 small ones take a few
// milliseconds.
func (e *Events) Read(ctx context.Context, from uint64, limit, maxBytes int) ([]Stored, error) {
	if e.stream.Load() == nil {
		return nil, ErrClosed
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, readTimeout)
		defer cancel()
	}
	sub, err := e.watch.SubscribeSync(e.watch.NewInbox())
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // it fails only with the connection

	if err := sub.SetPendingLimits(readCount+1, maxPending); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	r := reading{events: e, sub: sub, next: max(from, 1), limit: limit, bytes: maxBytes}
	for more := limit > 0; more; {
		if more, err = r.batch(ctx); err != nil {
			return nil, fmt.Errorf("read events from %d: %w", r.next, err)
		}
	}
	return r.got, nil
}

// reading is a Read half done.
type reading struct {
	events *Events
	sub    *nats.Subscription
	got    []Stored
	next   uint64
	limit  int // messages
	bytes  int // of data, still wanted
}

// batch makes one request and takes its answers. It reports whether another one
// is due.
func (r *reading) batch(ctx context.Context) (more bool, err error) {
	request, err := json.Marshal(map[string]any{"seq": r.next, "batch": min(r.limit-len(r.got), readCount), "max_bytes": max(1, min(r.bytes, readBytes))})
	if err != nil {
		return false, err
	}
	if err := r.events.watch.PublishRequest(directGet, r.sub.Subject, request); err != nil {
		return false, err
	}
	for {
		m, err := r.sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) {
			return false, ErrClosed
		}
		if err != nil {
			return false, err
		}
		switch status := m.Header.Get("Status"); status {
		case "":
			if err := r.take(m); err != nil {
				return false, err
			}
		case "204": // end of batch
			left := m.Header.Get("Nats-Num-Pending")
			return left != "0" && len(r.got) < r.limit && r.bytes > 0, nil
		case "404":
			return false, nil
		case "503":
			return false, ErrClosed
		default:
			return false, fmt.Errorf("the stream answers %s %s", status, m.Header.Get("Description"))
		}
	}
}

func (r *reading) take(m *nats.Msg) error {
	seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return fmt.Errorf("read number of a message: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return fmt.Errorf("read time of message %d: %w", seq, err)
	}
	r.got = append(r.got, Stored{Seq: seq, Time: at, Subject: m.Header.Get(jetstream.SubjectHeader), Header: m.Header, Data: m.Data})
	r.next, r.bytes = seq+1, r.bytes-len(m.Data)
	return nil
}
