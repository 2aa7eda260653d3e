// SPDX-License-Identifier: MIT OR Apache-2.0

// Package denial tells of refusals as events without letting an attack fill the
// event log. A room that refuses notes it, and has its [Teller] run:
//
//	d := denial.New("gateway", store, events, now)
//	d.Note(denial.Denial{Reason: "bad_token"}) // never waits
//	d.Run(ctx, log)                            // until ctx ends
//
// The first refusal of somebody for a reason is told at once and opens a window of a
// minute; those within it are told together at its end, with their exact number. At
// most 64 windows are open for who is known: beyond that refusals are counted by their
// reason alone. Reasons are a closed set of the caller's.
package denial

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	length      = time.Minute     // of a window
	recordLimit = 5 * time.Second // for writing one batch
	maxWindows  = 64
	maxWho      = 64  // bytes
	maxSubject  = 128 // bytes
)

// Denial is one refusal. Who and Subject may be empty, or whatever a stranger made
// them: they are cut and cleaned here.
type Denial struct {
	Reason  string // of a closed set
	Who     string // was refused
	Subject string // is what was refused
}

// Teller gathers refusals and records them as events. Its methods may be called
// concurrently.
type Teller struct {
	where  string
	now    func() time.Time
	record func(ctx context.Context, facts []bus.DeniedFact) error
	kick   chan struct{} // a window was opened

	mu      sync.Mutex
	windows map[key]*window
}

type key struct{ reason, who string }

// window gathers the refusals of one key.
type window struct {
	count   int64     // not told yet
	subject string    // of the first of these
	until   time.Time // when to tell them
}

// New returns a Teller for one door, which events name as where.
func New(where string, store *sqlite.Store, events *eventlog.Log, now func() time.Time) *Teller {
	return &Teller{where: where, now: now, record: recordIn(store, events), kick: make(chan struct{}, 1), windows: map[key]*window{}}
}

// recordIn writes the facts to the event log.
func recordIn(store *sqlite.Store, events *eventlog.Log) func(context.Context, []bus.DeniedFact) error {
	return func(ctx context.Context, facts []bus.DeniedFact) error {
		return store.Write(ctx, func(tx *sqlite.Tx) error {
			for _, fact := range facts {
				if err := eventlog.Record(events, tx, bus.AccessDenied, fact); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// Note counts one refusal. It never waits for anything but another Note.
func (t *Teller) Note(d Denial) {
	k := key{d.Reason, clean(d.Who, maxWho)}
	subject := clean(d.Subject, maxSubject)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(k, 1, subject, t.now()) // a new window is due now
}

// add counts into the window of k, and opens one until then if there is none.
func (t *Teller) add(k key, count int64, subject string, until time.Time) {
	if t.windows[k] == nil && len(t.windows) >= maxWindows {
		k.who, subject = "", ""
	}
	w := t.windows[k]
	if w == nil {
		w = &window{until: until}
		t.windows[k] = w
		select {
		case t.kick <- struct{}{}:
		default: // Run is about to look anyway
		}
	}
	if w.count == 0 {
		w.subject = subject
	}
	w.count += count
}

// Metrics are how many are told apart, and the bound of that; none of a nil Teller.
func (t *Teller) Metrics() []prometheus.Collector {
	if t == nil {
		return nil
	}
	gauge := func(name, help string, read func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{"where": t.where}},
			func() float64 { return float64(read()) })
	}
	return []prometheus.Collector{
		gauge("blufio_denied_strangers", "Who was refused lately and is told apart from others.", t.named),
		gauge("blufio_denied_strangers_limit", "Bound of blufio_denied_strangers, fixed: more are told together.", func() int { return maxWindows }),
	}
}

func (t *Teller) named() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.windows {
		if k.who != "" {
			n++
		}
	}
	return n
}

// clean makes a stranger's text fit for an event: short and printable.
func clean(s string, limit int) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s[:min(len(s), limit)])
}

// due takes the counts whose time has come, all of them if last. A window in which
// nothing more came is closed.
func (t *Teller) due(last bool) []bus.DeniedFact {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	var facts []bus.DeniedFact
	for k, w := range t.windows {
		switch {
		case now.Before(w.until) && !last:
		case w.count == 0:
			delete(t.windows, k)
		default:
			facts = append(facts, bus.DeniedFact{Time: now.UTC(), Where: t.where, Reason: k.reason, Who: k.who, Subject: w.subject, Count: w.count})
			w.count, w.until = 0, now.Add(length)
		}
	}
	slices.SortFunc(facts, func(a, b bus.DeniedFact) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Who, b.Who))
	})
	return facts
}

// restore takes back what could not be told.
func (t *Teller) restore(facts []bus.DeniedFact) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range facts {
		t.add(key{f.Reason, f.Who}, f.Count, f.Subject, t.now().Add(length))
	}
}

// Run tells of refusals until ctx ends, then of the rest. What cannot be recorded
// then is told by the next Run.
func (t *Teller) Run(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(length / 60)
	defer tick.Stop()
	for {
		select {
		case <-t.kick:
		case <-tick.C:
		case <-ctx.Done():
			t.tell(context.WithoutCancel(ctx), log, true)
			return
		}
		t.tell(ctx, log, false)
	}
}

func (t *Teller) tell(ctx context.Context, log *slog.Logger, last bool) {
	facts := t.due(last)
	if len(facts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, recordLimit)
	defer cancel()
	if err := t.record(ctx, facts); err != nil {
		t.restore(facts)
		log.Warn("denials not recorded yet", "err", fmt.Errorf("record denials: %w", err))
	}
}
