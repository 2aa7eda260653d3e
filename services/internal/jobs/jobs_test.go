// SPDX-License-Identifier: MIT OR Apache-2.0

package jobs

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/prometheus/client_golang/prometheus"
)

// rig is a table at work.
type rig struct {
	*Table
	*testing.T
	at   atomic.Int64 // the clock, in Unix seconds
	stop func()
}

func newRig(t *testing.T, l Limits) *rig {
	t.Helper()
	r := &rig{T: t}
	r.at.Store(1_000_000)
	r.Table = New(l, slog.New(slog.DiscardHandler), func() time.Time { return time.Unix(r.at.Load(), 0) })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Table.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	bustest.Eventually(t, "the table runs", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.ctx != nil })
	return r
}

func (r *rig) must(run func(context.Context, func(any)) (any, error)) string {
	r.Helper()
	id, err := r.Start("test", run)
	if err != nil {
		r.Fatal(err)
	}
	return id
}

func (r *rig) get(id string, after int) bus.JobState {
	r.Helper()
	s, err := r.Get(r.Context(), bus.JobQuery{ID: id, After: after})
	if err != nil {
		r.Fatal(err)
	}
	return s
}

// end asks until a job is done, and returns its last state.
func (r *rig) end(id string) bus.JobState {
	r.Helper()
	for after := 0; ; {
		s := r.get(id, after)
		if after += len(s.News); s.Done {
			return s
		}
	}
}

func TestNewsAndResult(t *testing.T) {
	r := newRig(t, Limits{Patient: time.Minute})
	defer r.stop()
	more, end := make(chan struct{}), make(chan struct{})
	id := r.must(func(_ context.Context, tell func(any)) (any, error) {
		tell("one")
		<-more
		tell("two")
		<-end
		return map[string]int{"n": 2}, nil
	})
	s := r.get(id, 0)
	if s.Kind != "test" || s.Done || len(s.News) != 1 || string(s.News[0]) != `"one"` {
		t.Fatalf("%+v", s)
	}
	close(more) // while somebody waits for it
	if s = r.get(id, 1); s.Done || len(s.News) != 1 || string(s.News[0]) != `"two"` {
		t.Fatalf("%+v", s)
	}
	close(end)
	if s = r.get(id, 2); !s.Done || len(s.News) != 0 || string(s.Result) != `{"n":2}` || s.Error != nil {
		t.Fatalf("%+v", s)
	}
	if s = r.get(id, 0); !s.Done || len(s.News) != 2 {
		t.Errorf("all of it again: %+v", s)
	}
	if s = r.get(id, 99); !s.Done || len(s.News) != 0 {
		t.Errorf("behind the end: %+v", s)
	}
	if _, err := r.Get(t.Context(), bus.JobQuery{ID: "none"}); bus.CodeOf(err) != bus.CodeNotFound {
		t.Errorf("%v", err)
	}
}

func TestWithoutNewsTheAnswerComesToo(t *testing.T) {
	r := newRig(t, Limits{Patient: time.Millisecond})
	defer r.stop()
	end := make(chan struct{})
	id := r.must(func(context.Context, func(any)) (any, error) { <-end; return nil, nil })
	if s := r.get(id, 0); s.Done || s.News == nil || len(s.News) != 0 {
		t.Errorf("%+v", s)
	}
	close(end)
}

func TestFailures(t *testing.T) {
	r := newRig(t, Limits{News: 2, Running: 9})
	defer r.stop()
	for name, c := range map[string]struct {
		run  func(context.Context, func(any)) (any, error)
		want bus.JobError
	}{
		"coded": {func(context.Context, func(any)) (any, error) {
			return nil, bus.Errorf(bus.CodeBusy, "so busy").WithHint("wait")
		},
			bus.JobError{Code: bus.CodeBusy, Message: "so busy", Hint: "wait"}},
		"plain": {func(context.Context, func(any)) (any, error) { return nil, errors.New("secret path") },
			bus.JobError{Code: bus.CodeInternal, Message: "the job failed", Hint: "the daemon's log has the details"}},
		"panic": {func(context.Context, func(any)) (any, error) { panic("oh") },
			bus.JobError{Code: bus.CodeInternal, Message: "the job failed", Hint: "the daemon's log has the details"}},
		"too much": {func(_ context.Context, tell func(any)) (any, error) { tell(1); tell(2); tell(3); return nil, nil },
			bus.JobError{Code: bus.CodeTooLarge, Message: "the job has more than 2 news"}},
	} {
		if s := r.end(r.must(c.run)); s.Error == nil || *s.Error != c.want {
			t.Errorf("%s: %+v", name, s.Error)
		}
	}
}

func TestBounds(t *testing.T) {
	r := newRig(t, Limits{Running: 2, Kept: 3})
	defer r.stop()
	end := make(chan struct{})
	wait := func(context.Context, func(any)) (any, error) { <-end; return nil, nil }
	ids := []string{r.must(wait), r.must(wait)}
	if _, err := r.Start("test", wait); bus.CodeOf(err) != bus.CodeBusy {
		t.Errorf("a third one: %v", err)
	}
	close(end)
	for _, id := range ids {
		r.end(id)
	}
	for range 2 { // the fourth takes the place of the first
		ids = append(ids, r.must(wait))
		r.end(ids[len(ids)-1])
	}
	if _, err := r.Get(t.Context(), bus.JobQuery{ID: ids[0]}); bus.CodeOf(err) != bus.CodeNotFound {
		t.Errorf("the first is kept: %v", err)
	}
	r.get(ids[1], 0)
	r.at.Add(300)
	if _, err := r.Get(t.Context(), bus.JobQuery{ID: ids[3]}); bus.CodeOf(err) != bus.CodeNotFound {
		t.Errorf("it is kept for more than 5 minutes: %v", err)
	}
}

func TestGauges(t *testing.T) {
	r := newRig(t, Limits{Running: 2, Kept: 3})
	defer r.stop()
	end := make(chan struct{})
	r.end(r.must(func(context.Context, func(any)) (any, error) { return nil, nil }))
	r.must(func(context.Context, func(any)) (any, error) { <-end; return nil, nil })
	defer close(end)
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
	}
	want := map[string]float64{"blufio_jobs_running": 1, "blufio_jobs_running_limit": 2, "blufio_jobs_kept": 2, "blufio_jobs_kept_limit": 3}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What was told in one go comes in several answers when it is much.
func TestPages(t *testing.T) {
	r := newRig(t, Limits{})
	defer r.stop()
	large := make([]byte, pageBytes/3) // base64 makes it larger by a third
	id := r.must(func(_ context.Context, tell func(any)) (any, error) {
		for range 5 {
			tell(large)
		}
		return nil, nil
	})
	answers, heard := 0, 0
	for done := false; !done; answers++ {
		s := r.get(id, heard)
		heard += len(s.News)
		done = s.Done
	}
	if heard != 5 || answers < 3 {
		t.Errorf("%d news in %d answers", heard, answers)
	}
}

// The end of the room ends its jobs, and waits for them.
func TestStop(t *testing.T) {
	r := newRig(t, Limits{})
	began := make(chan struct{})
	id := r.must(func(ctx context.Context, _ func(any)) (any, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	<-began
	r.stop()
	if s := r.get(id, 0); !s.Done || s.Error == nil {
		t.Errorf("%+v", s)
	}
	if _, err := r.Start("test", nil); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Errorf("started behind the end: %v", err)
	}
}
