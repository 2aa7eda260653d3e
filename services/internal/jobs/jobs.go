// SPDX-License-Identifier: MIT OR Apache-2.0

// Package jobs keeps work that takes longer than a call on the bus may: it is begun
// with a name, tells news while it goes on, and is asked for until it is done.
//
//	id, err := table.Start("doctor", func(ctx context.Context, tell func(any)) (any, error) { … })
//	state, err := table.Get(ctx, bus.JobQuery{ID: id})
//
// Everything is bounded: how many run, how many are kept, for how long, and how much
// news each has. A table outlives its room's restarts; [Table.Run] is what jobs run in.
package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"
)

// Limits bound a table; zero is the default.
type Limits struct {
	Running int           // at once, default 2
	Kept    int           // running and finished, default 16; the oldest finished one goes
	Keep    time.Duration // after the end, default 5 minutes
	News    int           // of one job, default 1000; what is beyond is counted as lost, and the job fails
	Patient time.Duration // how long a question waits for news, default 1 s
}

const (
	pageNews  = 100
	pageBytes = 512 << 10 // the bus carries 1 MiB
)

// Table is all jobs there are.
type Table struct {
	limits Limits
	log    *slog.Logger
	now    func() time.Time

	mu   sync.Mutex
	ctx  context.Context // of jobs; nil outside of Run
	jobs []*job          // oldest first
	work sync.WaitGroup
}

// job is one. The table's mutex guards it.
type job struct {
	state   bus.JobState
	ended   time.Time
	changed chan struct{} // closed and made anew with every change
}

// New returns an empty table.
func New(l Limits, log *slog.Logger, now func() time.Time) *Table {
	l.Running, l.Kept = cmp.Or(l.Running, 2), cmp.Or(l.Kept, 16)
	l.Keep, l.News, l.Patient = cmp.Or(l.Keep, 5*time.Minute), cmp.Or(l.News, 1000), cmp.Or(l.Patient, time.Second)
	return &Table{limits: l, log: log, now: now}
}

// Run lets jobs run until ctx ends, and waits for them.
func (t *Table) Run(ctx context.Context) error {
	t.mu.Lock()
	t.ctx = ctx
	t.mu.Unlock()
	<-ctx.Done()
	t.mu.Lock()
	t.ctx = nil
	t.mu.Unlock()
	t.work.Wait()
	return nil
}

// Start begins a job and returns its id.
func (t *Table) Start(kind string, run func(ctx context.Context, tell func(news any)) (result any, err error)) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(1)
	running := 0
	for _, j := range t.jobs {
		if !j.state.Done {
			running++
		}
	}
	switch {
	case t.ctx == nil:
		return "", bus.Errorf(bus.CodeUnavailable, "the daemon is starting or stopping")
	case running >= t.limits.Running:
		e := bus.Errorf(bus.CodeBusy, "%d jobs are running", running)
		e.RetryAfter = time.Second
		return "", e
	}
	j := &job{state: bus.JobState{ID: nuid.Next(), Kind: kind, Began: t.now().UTC()}, changed: make(chan struct{})}
	t.jobs = append(t.jobs, j)
	ctx := t.ctx
	t.work.Go(func() { t.run(ctx, j, run) })
	return j.state.ID, nil
}

// forget drops finished jobs that are old, or too many when more come. t.mu is held.
func (t *Table) forget(more int) {
	now := t.now()
	kept := t.jobs[:0:0]
	spare := len(t.jobs) + more - t.limits.Kept
	for _, j := range t.jobs {
		if j.state.Done && (spare > 0 || now.Sub(j.ended) >= t.limits.Keep) {
			spare--
			continue
		}
		kept = append(kept, j)
	}
	t.jobs = kept
}

func (t *Table) run(ctx context.Context, j *job, run func(context.Context, func(any)) (any, error)) {
	var result any
	err := services.Contain(func() (err error) {
		result, err = run(ctx, func(news any) { t.tell(j, news) })
		return err
	})
	if err != nil {
		t.log.Error("job failed", "kind", j.state.Kind, "err", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil && result != nil {
		j.state.Result, err = json.Marshal(result)
	}
	if err != nil {
		j.fail(err)
	}
	j.state.Done, j.ended = true, t.now()
	j.wake()
}

// fail notes the first error. Only one with a code has words for others.
func (j *job) fail(err error) {
	if j.state.Error != nil {
		return
	}
	e := &bus.JobError{Code: bus.CodeOf(err), Message: "the job failed", Hint: "the daemon's log has the details"}
	var coded *bus.Error
	if errors.As(err, &coded) {
		e.Message, e.Hint = coded.Message, coded.Hint
	}
	j.state.Error = e
}

func (j *job) wake() {
	close(j.changed)
	j.changed = make(chan struct{})
}

// tell adds to a job's news.
func (t *Table) tell(j *job, news any) {
	data, err := json.Marshal(news)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil:
		j.fail(fmt.Errorf("encode news: %w", err))
	case len(j.state.News) >= t.limits.News:
		j.fail(bus.Errorf(bus.CodeTooLarge, "the job has more than %d news", t.limits.News))
	default:
		j.state.News = append(j.state.News, data)
	}
	j.wake()
}

// Get answers ctl.job: at once when there is news, or else when there is some or
// the patience is over.
func (t *Table) Get(ctx context.Context, q bus.JobQuery) (bus.JobState, error) {
	limit := time.NewTimer(t.limits.Patient)
	defer limit.Stop()
	for {
		state, changed, err := t.look(q)
		if err != nil || state.Done || len(state.News) > 0 {
			return state, err
		}
		select {
		case <-changed:
		case <-limit.C:
			return state, nil
		case <-ctx.Done():
			return state, ctx.Err()
		}
	}
}

func (t *Table) look(q bus.JobQuery) (bus.JobState, <-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(0)
	for _, j := range t.jobs {
		if j.state.ID != q.ID {
			continue
		}
		state := j.state
		state.News = page(j.state.News[min(max(q.After, 0), len(j.state.News)):])
		state.Done = j.state.Done && q.After+len(state.News) >= len(j.state.News)
		return state, j.changed, nil
	}
	return bus.JobState{}, nil, bus.Errorf(bus.CodeNotFound, "there is no job %q", q.ID)
}

// page is as much of the news as one answer carries, and at least one.
func page(news []json.RawMessage) []json.RawMessage {
	out, size := []json.RawMessage{}, 0
	for _, n := range news {
		if size += len(n); len(out) == pageNews || len(out) > 0 && size > pageBytes {
			break
		}
		out = append(out, n)
	}
	return out
}

// Metrics are the bounds and their use.
func (t *Table) Metrics() []prometheus.Collector {
	gauge := func(name, help string, read func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(read()) })
	}
	count := func(running bool) int {
		t.mu.Lock()
		defer t.mu.Unlock()
		n := 0
		for _, j := range t.jobs {
			if !running || !j.state.Done {
				n++
			}
		}
		return n
	}
	return []prometheus.Collector{
		gauge("blufio_jobs_running", "Jobs, such as doctor's, under way.", func() int { return count(true) }),
		gauge("blufio_jobs_running_limit", "Bound of blufio_jobs_running, fixed.", func() int { return t.limits.Running }),
		gauge("blufio_jobs_kept", "Jobs under way or finished a while ago.", func() int { return count(false) }),
		gauge("blufio_jobs_kept_limit", "Bound of blufio_jobs_kept, fixed: those that ended first are forgotten.", func() int { return t.limits.Kept }),
	}
}
