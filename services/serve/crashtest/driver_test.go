// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/blufio/blufio/services"
)

const (
	insist     = time.Minute           // for one message, across restarts
	tryAgain   = 10 * time.Millisecond // between attempts while the daemon is away
	maxWaiting = 5 * time.Second       // for the reply to one message
)

// lane is a way to the daemon.
type lane interface {
	// send hands a message over. wait asks for the reply as well, if it comes soon.
	// The error is errAway when it may be sent again.
	send(ctx context.Context, n int, wait bool) (ack, error)
}

// errAway: the daemon is not there or did not say that it took the message.
var errAway = errors.New("the daemon is away")

// drive speaks until in ends, and then finishes what is under way. It writes a
// byte to out for every message that is acknowledged and written down.
func drive(ctx context.Context, p plan, in io.Reader, out io.Writer) error {
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		close(stop)
	}()
	var mu sync.Mutex
	acked := func() error {
		mu.Lock()
		defer mu.Unlock()
		_, err := out.Write([]byte{'.'})
		return err
	}
	var all []func(context.Context) error
	for s := range speaker(speakers) {
		all = append(all, func(ctx context.Context) error {
			if err := s.speak(ctx, p, stop, acked); err != nil {
				return fmt.Errorf("%s: %w", s.session(), err)
			}
			return nil
		})
	}
	return services.Work(ctx, all...)
}

// speak sends one message after another.
func (s speaker) speak(ctx context.Context, p plan, stop <-chan struct{}, acked func() error) error {
	l := s.lane(p)
	j, err := newJournal(p.journal(s))
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		select {
		case <-stop:
			return j.file.Close()
		default:
		}
		a, err := deliver(ctx, l, n)
		if err == nil {
			err = j.write(a)
		}
		if err == nil {
			err = acked()
		}
		if err != nil {
			return err
		}
	}
}

func (s speaker) lane(p plan) lane {
	switch s.channel() {
	case terminal:
		return &busLane{speaker: s, plan: p}
	default:
		return &httpLane{speaker: s, plan: p}
	}
}

// deliver sends message number n until it is acknowledged.
func deliver(ctx context.Context, l lane, n int) (ack, error) {
	ctx, cancel := context.WithTimeout(ctx, insist)
	defer cancel()
	for {
		a, err := l.send(ctx, n, n%awaitEvery == 0)
		if err == nil || !errors.Is(err, errAway) {
			return a, err
		}
		select {
		case <-time.After(tryAgain):
		case <-ctx.Done():
			return ack{}, fmt.Errorf("message %d was not acknowledged within %s: %w", n, insist, err)
		}
	}
}
