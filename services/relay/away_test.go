// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

// refuse makes the stream refuse every event, until it is opened again.
func (r *rig) refuse(t *testing.T) {
	t.Helper()
	stream, err := r.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgSize = 1
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

// gate is a stream that opens only while it is let.
func (r *rig) gate(closed bool) (g *gate, change func(*Service)) {
	g = &gate{tried: make(chan struct{}, 1000), free: make(chan struct{})}
	if !closed {
		close(g.free)
	}
	return g, func(s *Service) { s.stream = &stream{r.b.Server(), g.open} }
}

type gate struct {
	tried chan struct{}
	free  chan struct{} // closed: the stream opens
	hang  bool          // it does not answer, rather than fail
}

func (g *gate) open(ctx context.Context) error {
	select {
	case g.tried <- struct{}{}:
	default:
	}
	if g.hang {
		select {
		case <-g.free:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-g.free:
		return nil
	default:
		return errAway
	}
}

// While the stream cannot be opened (the disk is full) or hangs, events are
// heard at once, and it gets all of them in order once it is there.
func TestHeardWhileTheStreamCannotOpen(t *testing.T) {
	t.Parallel()
	for _, hang := range []bool{false, true} {
		t.Run(fmt.Sprintf("hang=%v", hang), func(t *testing.T) {
			r := newRig(t)
			g, change := r.gate(true)
			g.hang = hang
			s, _ := r.start(t, change)
			<-g.tried
			r.record(t, 300)
			r.hears(t, 1, 300)
			if s.progress.behind() != 300 {
				t.Errorf("%d are not stored", s.progress.behind())
			}
			if !hang {
				<-g.tried // the first failure is known
				if p := s.health(); len(p) != 1 || !strings.Contains(p[0].Title, errAway.Error()) {
					t.Errorf("problems %v", p)
				}
			}
			close(g.free)
			r.holds(t, to(300)...)
			r.record(t, 10)
			r.hears(t, 301, 310)
			r.holds(t, to(310)...)
			r.quiet(t)
			if p := s.health(); len(p) > 0 {
				t.Errorf("problems %v", p)
			}
		})
	}
}

// A stream that begins to refuse events is opened again; meanwhile they are
// heard, and none is missing or stored twice in it afterwards.
func TestStreamRefusesForAWhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start(t, nil)
	for round := range 3 {
		r.record(t, 5)
		r.holds(t, to(int64(r.n))...)
		r.refuse(t)
		r.record(t, 40)
		r.hears(t, int64(round)*45+1, int64(r.n))
		r.holds(t, to(int64(r.n))...)
	}
	r.noted(t, int64(r.n))
	r.quiet(t)
	if g := r.gaps(t); len(g) > 0 || len(s.health()) > 0 {
		t.Errorf("gaps %v, health %v", g, s.health())
	}
	if n := s.away.Load(); n < 3 {
		t.Errorf("%d failures of the stream were counted, want 3 at least", n)
	}
}

// One event is refused while those right behind it are stored: it is not taken
// for stored because they are.
func TestStreamRefusesOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, change := r.gate(true)
	r.start(t, func(s *Service) { change(s); close(g.free) })
	r.record(t, 1)
	r.holds(t, 1)
	stream, err := r.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgSize = 1000
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	r.writeAll(t, append([]bus.RestartedFact{{Service: strings.Repeat("x", 2000)}}, make([]bus.RestartedFact, 99)...)...)
	r.hears(t, 1, 101)
	bustest.Eventually(t, "all are stored", func() bool {
		seqs, _ := r.stored(t)
		slices.Sort(seqs) // the one behind those that came through
		return slices.Equal(seqs, to(101))
	})
}

// A stream that vanishes answers nothing. The listeners wait for it a quarter of
// a second at most, however many events there are, and the new stream gets what
// the log has.
func TestStreamVanishes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, change := r.gate(false)
	r.start(t, change)
	r.record(t, 5)
	r.holds(t, to(5)...)
	r.hears(t, 1, 5)
	if err := r.js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.record(t, 600) // more than wait for an answer at once
	r.hears(t, 6, 605)
	if took := time.Since(began); took > 4*time.Second { // an answer is given up after 5
		t.Errorf("heard after %s", took)
	}
	<-g.tried
	r.holds(t, to(605)...)
	r.record(t, 5)
	r.hears(t, 606, 610)
	r.holds(t, to(610)...)
	r.quiet(t)
}

// While the stream catches up, new events are heard before the old are stored.
func TestNewEventsOvertakeTheBacklog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, change := r.gate(true)
	_, stop := r.start(t, change)
	r.record(t, 2000)
	r.hears(t, 1, 2000)
	close(g.free)
	bustest.Eventually(t, "the first is stored", func() bool { seqs, _ := r.tail(t); return seqs > 0 })
	r.record(t, 1)
	r.hears(t, 2001, 2001)
	bustest.Eventually(t, "all is stored", func() bool { n, _ := r.tail(t); return n == 2001 })
	stop()
	if seqs, _ := r.stored(t); !slices.Equal(seqs, to(2001)) {
		t.Errorf("the stream holds %d, not in order", len(seqs))
	}
}

// tail returns how many messages the stream holds.
func (r *rig) tail(t *testing.T) (n uint64, err error) {
	t.Helper()
	stream, err := r.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.Msgs, nil
}

// The log is bounded while the stream is away. What it drops is one gap.
func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, change := r.gate(true)
	s, _ := r.start(t, func(s *Service) {
		change(s)
		s.bounds.maxRows, s.bounds.pruneRows, s.bounds.pruneEvery = 20, 7, 5*time.Millisecond
	})
	r.record(t, 100)
	r.hears(t, 1, 100)
	bustest.Eventually(t, "the log is pruned", func() bool { return r.state(t).First == 81 })
	close(g.free)
	r.holds(t, append(span(81, 100), 101)...)
	r.hears(t, 101, 101)
	if g := r.gaps(t); len(g) != 1 || !strings.Contains(g[0], `"from":1,"to":80`) {
		t.Errorf("gaps %v", g)
	}
	r.noted(t, 101)
	if s.progress.behind() != 0 {
		t.Errorf("%d behind", s.progress.behind())
	}
}

// So are its bytes, for events may carry what was said: the oldest go that are too much.
func TestLogIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, change := r.gate(true)
	s, _ := r.start(t, func(s *Service) {
		change(s)
		s.bounds.maxBytes, s.bounds.pruneRows, s.bounds.pruneEvery = 4<<20, 7, time.Hour
	})
	large := make([]bus.RestartedFact, 20)
	for i := range large {
		large[i].Service = strings.Repeat("x", 512<<10)
	}
	r.writeAll(t, large...)
	r.hears(t, 1, 20)
	bustest.Eventually(t, "the log is pruned", func() bool { return r.state(t).First == 15 }, func() any { return r.state(t) })
	bustest.Eventually(t, "the gauge tells it", func() bool { n := s.bulk.bytes.Load(); return n > 3<<20 && n < 4<<20 }, func() any { return s.bulk.bytes.Load() })
	close(g.free)
	r.holds(t, span(15, 21)...)
	if g := r.gaps(t); len(g) != 1 || !strings.Contains(g[0], `"from":1,"to":14`) {
		t.Errorf("gaps %v", g)
	}
}

// What comes faster than the log is pruned has it pruned: its bound is passed by no more
// than is deleted at once and comes meanwhile.
func TestLogIsBoundedBetweenPrunings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start(t, func(s *Service) {
		s.bounds.maxRows, s.bounds.pruneRows, s.bounds.pruneEvery = 20, 7, time.Hour
	})
	for range 10 {
		r.record(t, 100)
		bustest.Eventually(t, "the log is pruned", func() bool { st := r.state(t); return st.Last-st.First < 27 })
	}
}

// Rows stay for a while after they were stored, however old they are, and go
// then.
func TestStoredRowsAreKeptForAWhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, stop := r.start(t, func(s *Service) { s.bounds.keep, s.bounds.pruneEvery = time.Hour, 2*time.Millisecond })
	r.record(t, 10)
	r.sql(t, `UPDATE event SET at = 0`)
	r.noted(t, 10)
	stop()
	for _, first := range []int64{1, 0} { // one period of keep may have just begun
		s.age()
		s.prune(t.Context())
		if st := r.state(t); st.First != first {
			t.Fatalf("oldest is %d, want %d", st.First, first)
		}
	}
	r.record(t, 1)
	_, stop = r.start(t, func(s *Service) { s.bounds.keep, s.bounds.pruneEvery = 20*time.Millisecond, 2*time.Millisecond })
	bustest.Eventually(t, "stored rows are gone", func() bool { return r.state(t).First == 0 })
	r.record(t, 1)
	r.holds(t, to(12)...)
	stop()
	if g := r.gaps(t); len(g) > 0 {
		t.Errorf("gaps %v", g)
	}
}

// The same relay runs again after a failure: nothing is heard twice.
func TestRunAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g, change := r.gate(true)
	s, stop := r.start(t, change)
	r.record(t, 10)
	r.hears(t, 1, 10)
	stop()
	close(g.free)
	roomtest.Start(t, r.b, s)
	r.record(t, 1)
	r.hears(t, 11, 11)
	r.holds(t, to(11)...)
	r.quiet(t)
}

// The relay waits for the house to be ready, and can be stopped before.
func TestWaitsForTheHouse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	open := make(chan struct{})
	wait := func(s *Service) { s.open = open }
	r.record(t, 1)
	_, stop := r.start(t, wait)
	r.quiet(t)
	stop()
	s, _ := r.start(t, wait)
	if p := s.health(); len(p) > 0 {
		t.Errorf("problems before the first opening: %v", p)
	}
	close(open)
	r.hears(t, 1, 1)
}

// A relay that cannot read what is to be relayed does not say that it is ready: it would
// be seen running each time that it is started again.
func TestWithoutItsLogItIsNotReady(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.store.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec("ALTER TABLE event RENAME TO gone")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	open := make(chan struct{})
	close(open)
	s := New(r.log, r.b.Server(), open, bustest.Logger(t))
	if err := s.Run(t.Context(), nil, func() { t.Error("it is ready") }); err == nil {
		t.Error("it ended without a reason")
	}
}

// Only an answer proves that an event is not stored.
func TestProgress(t *testing.T) {
	var p progress
	p.init()
	p.known(3, 5)
	if _, _, news := p.note(); news || p.behind() != 2 {
		t.Errorf("before the first begin: news %v, %d behind", news, p.behind())
	}
	p.begin("a", 3)
	old := p.sent(4)
	p.begin("a", 3)
	four, five, six := p.sent(4), p.sent(5), p.sent(6)
	old(errAway) // belongs to the time before
	if p.trouble() != nil || p.stored() != 3 {
		t.Errorf("stored %d, trouble %v", p.stored(), p.trouble())
	}
	five(nil)
	if p.stored() != 3 {
		t.Errorf("stored %d with 4 on its way", p.stored())
	}
	four(nil)
	six(errAway)
	if p.stored() != 5 || p.trouble() == nil || p.refusedIn("a") != 6 || p.refusedIn("b") != 0 {
		t.Errorf("stored %d, trouble %v, refused %d", p.stored(), p.trouble(), p.refusedIn("a"))
	}
	if stream, seq, news := p.note(); stream != "a" || seq != 5 || !news {
		t.Errorf("note %s %d %v", stream, seq, news)
	}
	if _, _, news := p.note(); news {
		t.Error("noted twice")
	}
	p.unnoted()
	if _, _, news := p.note(); !news {
		t.Error("not noted again")
	}
}
