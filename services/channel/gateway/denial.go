// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	denialWindow = time.Minute
	recordLimit  = 5 * time.Second // for writing one batch
)

// denials tells of refusals without letting an attack fill the event log: the
// first of a reason is told at once and opens a window of a minute; those
// within it are told together at its end.
type denials struct {
	now    func() time.Time
	record func(ctx context.Context, facts []bus.DeniedFact) error
	kick   chan struct{} // a window was opened

	mu      sync.Mutex
	windows map[string]*window // by reason, at most len(reasons)
}

// window gathers the refusals of one reason.
type window struct {
	count int64     // not told yet
	until time.Time // when to tell them
}

func newDenials(now func() time.Time, record func(context.Context, []bus.DeniedFact) error) *denials {
	return &denials{now: now, record: record, kick: make(chan struct{}, 1), windows: map[string]*window{}}
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

// note counts one refusal. It never waits.
func (d *denials) note(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.windows[reason]
	if w == nil {
		w = &window{until: d.now()} // due now
		d.windows[reason] = w
		select {
		case d.kick <- struct{}{}:
		default: // run is about to look anyway
		}
	}
	w.count++
}

// due takes the counts whose time has come, all of them if last. A window in
// which nothing more came is closed.
func (d *denials) due(last bool) []bus.DeniedFact {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	var facts []bus.DeniedFact
	for reason, w := range d.windows {
		switch {
		case now.Before(w.until) && !last:
		case w.count == 0:
			delete(d.windows, reason)
		default:
			facts = append(facts, bus.DeniedFact{Time: now.UTC(), Where: name, Reason: reason, Count: w.count})
			w.count, w.until = 0, now.Add(denialWindow)
		}
	}
	return facts
}

// restore takes back what could not be told.
func (d *denials) restore(facts []bus.DeniedFact) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range facts {
		w := d.windows[f.Reason]
		if w == nil {
			w = &window{until: d.now().Add(denialWindow)}
			d.windows[f.Reason] = w
		}
		w.count += f.Count
	}
}

// run tells of refusals until ctx ends, then of the rest.
func (d *denials) run(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(denialWindow / 60)
	defer tick.Stop()
	for {
		select {
		case <-d.kick:
		case <-tick.C:
		case <-ctx.Done():
			d.tell(context.WithoutCancel(ctx), log, true)
			return
		}
		d.tell(ctx, log, false)
	}
}

func (d *denials) tell(ctx context.Context, log *slog.Logger, last bool) {
	facts := d.due(last)
	if len(facts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, recordLimit)
	defer cancel()
	if err := d.record(ctx, facts); err != nil {
		d.restore(facts)
		log.Warn("denials not recorded yet", "err", fmt.Errorf("record denials: %w", err))
	}
}
