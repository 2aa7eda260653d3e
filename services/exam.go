// SPDX-License-Identifier: MIT OR Apache-2.0

package services

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	probesAtOnce = 8
	probeGrace   = 100 * time.Millisecond // for a probe to say in its own words that it ran out of time
)

// Exam says which of some probes to run.
type Exam struct {
	Deep    bool
	Only    []string // ids; empty is all
	Skip    []string
	Timeout time.Duration // of each probe; 0 is its own
}

// Wants reports whether the exam is about a probe.
func (e Exam) Wants(p Probe) bool {
	is := func(id string) bool { return strings.EqualFold(id, p.ID) }
	if slices.ContainsFunc(e.Skip, is) {
		return false
	}
	return (e.Deep || !p.Deep) && len(e.Only) == 0 || slices.ContainsFunc(e.Only, is) // who names it wants it
}

// Examiner runs probes. The zero value is ready.
type Examiner struct {
	mu    sync.Mutex
	stuck map[string]time.Time // probes that went on behind their timeout, and since when
	work  sync.WaitGroup
}

// Run runs the probes that the exam is about, at most 8 at once, and tells each
// finding as it is there, one at a time. A probe that panics or does not end in time
// is a finding too: it is not waited for, and until it ends not begun again.
func (x *Examiner) Run(ctx context.Context, probes []Probe, e Exam, found func(bus.Finding)) {
	var telling sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, probesAtOnce)
	for _, p := range probes {
		if !e.Wants(p) {
			continue
		}
		if e.Timeout > 0 {
			p.Timeout = e.Timeout
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			began := time.Now()
			f := p.Found(x.one(ctx, p))
			f.DurationMS = time.Since(began).Milliseconds()
			telling.Lock()
			defer telling.Unlock()
			found(f)
		})
	}
	all.Wait()
}

// Wait waits for the probes that went on behind their timeout.
func (x *Examiner) Wait() { x.work.Wait() }

// one runs a probe and waits for it as long as it may take.
func (x *Examiner) one(ctx context.Context, p Probe) Result {
	if since, stuck := x.isStuck(p.ID); stuck {
		return Fail("the check that began at %s has not ended yet", since.Format(time.TimeOnly)).WithFix("see the daemon's log; restart it if this stays so")
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	began, results := time.Now(), make(chan Result, 1)
	ended := false // under x.mu
	x.work.Go(func() {
		defer cancel()
		r := contained(ctx, p)
		x.mu.Lock()
		ended = true
		delete(x.stuck, p.ID)
		x.mu.Unlock()
		results <- r
	})
	limit := time.NewTimer(p.timeout() + probeGrace)
	defer limit.Stop()
	select {
	case r := <-results:
		return r
	case <-limit.C:
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !ended {
		if x.stuck == nil {
			x.stuck = map[string]time.Time{}
		}
		x.stuck[p.ID] = began
	}
	return Fail("the check did not finish within %s", p.timeout())
}

// contained runs a probe; its panic is a result.
func contained(ctx context.Context, p Probe) (r Result) {
	err := Contain(func() error { r = p.Run(ctx); return nil })
	switch {
	case err != nil:
		return Fail("the check itself failed: %s", firstLine(err.Error())).WithFix("this is a defect of blufio: please report it, with this finding")
	case r.Level == "":
		return Fail("the check said nothing").WithFix("this is a defect of blufio: please report it, with this finding")
	}
	return r
}

func (x *Examiner) isStuck(id string) (time.Time, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	since, ok := x.stuck[id]
	return since, ok
}
