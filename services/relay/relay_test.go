// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

// Events are heard and stored in order, with their positions; one that was
// never committed is nowhere.
func TestEventsAreHeardAndStoredInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, stop := r.start(t, nil)
	for range 10 {
		r.record(t, 2)
		err := r.store.Write(t.Context(), func(tx *sqlite.Tx) error {
			if err := eventlog.Record(r.log, tx, bus.RoomRestarted, bus.RestartedFact{Service: "never"}); err != nil {
				return err
			}
			return errAway
		})
		if err == nil {
			t.Fatal("the write was not undone")
		}
	}
	r.hears(t, 1, 20)
	r.holds(t, to(20)...)
	r.noted(t, 20)
	if _, epochs := r.stored(t); !slices.Equal(epochs, []string{r.state(t).Epoch}) {
		t.Errorf("epochs %v", epochs)
	}
	if p := s.health(); len(p) > 0 || s.progress.behind() != 0 {
		t.Errorf("problems %v, %d behind", p, s.progress.behind())
	}
	stop()
	r.quiet(t)
}

// Nothing is published before its transaction is committed.
func TestNothingIsHeardBeforeTheCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t, nil)
	written, release := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- r.store.Write(context.WithoutCancel(t.Context()), func(tx *sqlite.Tx) error {
			err := eventlog.Record(r.log, tx, bus.RoomRestarted, bus.RestartedFact{Service: "slow"})
			close(written)
			<-release
			return err
		})
	}()
	<-written
	r.quiet(t)
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.hears(t, 1, 1)
}

// A restarted daemon gives the stream what it lacks and nothing twice, also
// when the note of what was relayed is lost. What was noted is not heard again.
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		r := newRig(t)
		_, stop := r.start(t, nil)
		r.record(t, 10)
		r.holds(t, to(10)...)
		stop()
		r.noted(t, 10)
		if lost {
			r.sql(t, `UPDATE event_state SET relayed = 0, stream = ''`)
		}
		r.hears(t, 1, 10)
		r.handedOut(t)
		r.record(t, 5)
		r.start(t, nil)
		r.holds(t, to(15)...)
		if got := r.handedOut(t); !slices.Equal(got, span(11, 15)) {
			t.Errorf("lost note %v: the stream was given %v", lost, got)
		}
		if !lost {
			r.hears(t, 11, 15)
			r.quiet(t)
		}
		if g := r.gaps(t); len(g) > 0 {
			t.Errorf("gaps %v", g)
		}
	}
}

// What was recorded while the house stopped is heard and stored before the
// relay, the last room to end, has ended.
func TestLastWordsAreHeard(t *testing.T) {
	t.Parallel()
	for range 10 {
		r := newRig(t)
		_, stop := r.start(t, nil)
		r.record(t, 1)
		r.hears(t, 1, 1)
		r.holds(t, 1)
		wake := r.log.Wake()
		r.record(t, 1)
		select {
		case <-wake: // as if the relay had not seen it yet
		default:
		}
		stop()
		r.hears(t, 2, 2)
		r.holds(t, 1, 2)
	}
}

// The stream was thrown away while the daemon was down: it gets what the log
// still has, nobody hears that again, and what is gone is said once.
func TestStreamWipedWhileDown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, stop := r.start(t, nil)
	r.record(t, 10)
	r.holds(t, to(10)...)
	r.noted(t, 10)
	stop()
	r.hears(t, 1, 10)
	r.sql(t, `DELETE FROM event WHERE seq <= 4`)
	events, err := r.b.Server().Events()
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Recreate(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, stop = r.start(t, nil)
	r.holds(t, span(5, 11)...)
	r.hears(t, 11, 11)
	r.quiet(t)
	stop()
	r.start(t, nil)
	r.record(t, 1)
	r.holds(t, span(5, 12)...)
	if g := r.gaps(t); len(g) != 1 || !strings.Contains(g[0], `"from":1,"to":4`) {
		t.Errorf("gaps %v", g)
	}
}

// All events aged out of the stream: nothing is missing.
func TestAgedOutIsNoGap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, stop := r.start(t, nil)
	r.record(t, 10)
	r.holds(t, to(10)...)
	r.noted(t, 10)
	stop()
	stream, err := r.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.sql(t, `DELETE FROM event WHERE seq <= 7`)
	r.start(t, nil)
	r.record(t, 1)
	r.holds(t, 11)
	if g := r.gaps(t); len(g) > 0 {
		t.Errorf("gaps %v", g)
	}
}

// Another database's positions say nothing about this one's.
func TestOtherDatabase(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, stop := r.start(t, nil)
	r.record(t, 10)
	r.holds(t, to(10)...)
	stop()
	r.hears(t, 1, 10)
	r.use(roomtest.Store(t))
	r.record(t, 3)
	r.start(t, nil)
	r.holds(t, append(to(10), to(3)...)...)
	r.hears(t, 1, 3)
	if _, epochs := r.stored(t); len(epochs) != 2 {
		t.Errorf("epochs %v", epochs)
	}
	if g := r.gaps(t); len(g) > 0 {
		t.Errorf("gaps %v", g)
	}
}

// A database restored from a backup gives positions out again. Its new events
// reach the stream, whether they are fewer or more than those it has lost.
func TestRestoredDatabase(t *testing.T) {
	t.Parallel()
	for _, more := range []int{2, 8} {
		r := newRig(t)
		_, stop := r.start(t, nil)
		r.record(t, 10)
		r.holds(t, to(10)...)
		r.noted(t, 10)
		stop()
		r.hears(t, 1, 10)
		r.sql(t, `DELETE FROM event WHERE seq > 5; UPDATE sqlite_sequence SET seq = 5 WHERE name = 'event'; UPDATE event_state SET relayed = 5`)
		r.record(t, more)
		r.start(t, nil)
		last := int64(5 + more)
		r.hears(t, 6, last)
		r.holds(t, append(to(10), span(6, last)...)...)
		if _, epochs := r.stored(t); len(epochs) != 2 {
			t.Errorf("epochs %v", epochs)
		}
		r.record(t, 1)
		r.hears(t, last+1, last+1)
		r.holds(t, append(to(10), span(6, last+1)...)...)
	}
}

// An event that the bus cannot carry is said to be missing; it neither stops the
// relay nor those behind it.
func TestTooLargeAnEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, stop := r.start(t, nil)
	r.record(t, 1)
	r.writeAll(t, bus.RestartedFact{Service: strings.Repeat("x", 1<<20)})
	r.record(t, 1)
	r.hears(t, 1, 1)
	r.hears(t, 3, 4)
	r.holds(t, 1, 3, 4)
	r.noted(t, 4)
	if g := r.gaps(t); len(g) != 1 || !strings.Contains(g[0], `"from":2,"to":2`) {
		t.Errorf("gaps %v", g)
	}
	if st := r.state(t); st.Lost != 0 || len(s.health()) > 0 {
		t.Errorf("state %+v, health %v", st, s.health())
	}
	stop()
	r.start(t, nil)
	r.record(t, 1)
	r.holds(t, 1, 3, 4, 5)
}

// The yardstick: events recorded in transactions of 50 are heard and stored.
func TestThroughput(t *testing.T) {
	r := newRig(t)
	r.start(t, nil)
	const count, each = 10_000, 50
	began := time.Now()
	for range count / each {
		r.record(t, each)
	}
	written := time.Since(began)
	r.hears(t, 1, count)
	heard := time.Since(began)
	r.noted(t, count)
	t.Logf("%d events: written in %s, heard after %s, stored after %s, %.0f/s", count, written, heard, time.Since(began), count/time.Since(began).Seconds())
}
