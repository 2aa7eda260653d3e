// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// publishMany stores count events of size bytes each, numbered from 1.
func publishMany(t *testing.T, e *Events, count, size int) {
	t.Helper()
	answers := make(chan error, count)
	for i := range count {
		ev := Event{Subject: tick, ID: fmt.Sprint(i), Header: nats.Header{"N": {fmt.Sprint(i + 1)}}, Data: make([]byte, size)}
		if err := e.Publish(deadline(t), ev, func(_ Ack, err error) { answers <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for range count {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
}

func numbers(got []Stored) (seqs []uint64) {
	for _, m := range got {
		seqs = append(seqs, m.Seq)
	}
	return seqs
}

func upTo(first, last uint64) (seqs []uint64) {
	for n := first; n <= last; n++ {
		seqs = append(seqs, n)
	}
	return seqs
}

func TestRead(t *testing.T) {
	_, e := startWithEvents(t, nil)
	publishMany(t, e, 10, 1000)
	if err := e.stream.Load().DeleteMsg(deadline(t), 4); err != nil {
		t.Fatal(err)
	}
	all := slices.DeleteFunc(upTo(1, 10), func(n uint64) bool { return n == 4 })
	for name, tc := range map[string]struct {
		from         uint64
		limit, bytes int
		want         []uint64
	}{
		"all":                 {0, 100, 1 << 20, all},
		"as many as asked":    {1, 3, 1 << 20, upTo(1, 3)},
		"one":                 {9, 1, 1 << 20, upTo(9, 9)},
		"over the deleted":    {4, 2, 1 << 20, upTo(5, 6)},
		"the last":            {10, 5, 1 << 20, upTo(10, 10)},
		"behind the last":     {11, 5, 1 << 20, nil},
		"nothing":             {1, 0, 1 << 20, nil},
		"as many bytes":       {5, 100, 2500, upTo(5, 7)},
		"one, however large":  {5, 100, 1, upTo(5, 5)},
		"a limit of the rest": {8, 3, 1 << 20, upTo(8, 10)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := e.Read(deadline(t), tc.from, tc.limit, tc.bytes)
			if err != nil || !slices.Equal(numbers(got), tc.want) {
				t.Errorf("got %v, %v, want %v", numbers(got), err, tc.want)
			}
			for _, m := range got {
				if m.Subject != tick || m.Header.Get("N") != fmt.Sprint(m.Seq) || len(m.Data) != 1000 || time.Since(m.Time) > time.Minute {
					t.Errorf("message %d: %s %v, %d bytes, %s", m.Seq, m.Subject, m.Header, len(m.Data), m.Time)
				}
			}
		})
	}
}

// One read is many requests when there are many messages, and each makes room for no more
// than it may bring.
func TestReadOfManyIsManyRequests(t *testing.T) {
	_, e := startWithEvents(t, nil)
	const many = 2*readCount + 10
	publishMany(t, e, many, 10)
	for limit, want := range map[int]uint64{many + 1: many, many: many, many - 1: many - 1, readCount + 1: readCount + 1, readCount: readCount} {
		if got, err := e.Read(deadline(t), 1, limit, 1<<20); err != nil || !slices.Equal(numbers(got), upTo(1, want)) {
			t.Errorf("of %d: got %d, %v", limit, len(got), err)
		}
	}
	const reads = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range reads {
		if got, err := e.Read(deadline(t), many, 1, 1); err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / reads; each > 128<<10 {
		t.Errorf("one event allocates %d bytes", each)
	}
}

// One read is many requests when there are many bytes, and the connection that
// waits for acknowledgements survives it.
func TestReadIsGentle(t *testing.T) {
	s, e := startWithEvents(t, func(c *Config) { c.EventsMB = 16 })
	publishMany(t, e, 60, 100<<10)
	for range 3 {
		got, err := e.Read(deadline(t), 1, 100, 16<<20)
		if err != nil || !slices.Equal(numbers(got), upTo(1, 60)) {
			t.Fatalf("%v, %v", numbers(got), err)
		}
	}
	if st := s.Stats(); st.SlowConsumers > 0 {
		t.Errorf("%d connections were cut off", st.SlowConsumers)
	}
	mustPublish(t, e, Event{Subject: tick, ID: "after"})
}

func TestReadOfAClosedStream(t *testing.T) {
	s := start(t, nil)
	e, err := s.Events()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Read(deadline(t), 1, 1, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("before it was opened: %v", err)
	}
	if _, err := s.OpenEvents(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if got, err := e.Read(context.WithoutCancel(t.Context()), 1, 10, 10); err != nil || len(got) > 0 {
		t.Errorf("an empty stream: %v, %v", got, err)
	}
	if err := s.closeStream(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Read(deadline(t), 1, 1, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("after it was closed: %v", err)
	}
}

// The yardstick: a page of a long stream.
func TestReadSpeed(t *testing.T) {
	_, e := startWithEvents(t, func(c *Config) { c.EventsMB = 64 })
	publishMany(t, e, 20_000, 300)
	best := time.Hour
	for i := range 10 {
		began := time.Now()
		got, err := e.Read(deadline(t), uint64(i*1900+1), 500, 1<<20)
		if err != nil || len(got) != 500 {
			t.Fatalf("%d, %v", len(got), err)
		}
		best = min(best, time.Since(began))
	}
	began := time.Now()
	for i := range 100 {
		if got, err := e.Read(deadline(t), uint64(i*190+1), 1, 1); err != nil || len(got) != 1 {
			t.Fatalf("%d, %v", len(got), err)
		}
	}
	t.Logf("500 events in %s, one in %s", best, time.Since(began)/100)
	if best > 100*time.Millisecond { // many times what it takes
		t.Errorf("500 events took %s", best)
	}
}
