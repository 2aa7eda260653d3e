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
	maxWindows   = 64              // open at once
)

// denials tells of refusals without letting an attack fill the event log: the
// first of a reason and a token is told at once and opens a window of a minute; those
// within it are told together at its end. When many tokens are refused at once, their
// refusals are told together, without a name.
type denials struct {
	now    func() time.Time
	record func(ctx context.Context, facts []bus.DeniedFact) error
	kick   chan struct{} // a window was opened

	mu      sync.Mutex
	windows map[cause]*window // at most maxWindows, and one more for each reason
}

// cause is why someone was refused, and who, if a token was proved.
type cause struct{ reason, who string }

// window gathers the refusals of one cause.
type window struct {
	count int64     // not told yet
	until time.Time // when to tell them
}

func newDenials(now func() time.Time, record func(context.Context, []bus.DeniedFact) error) *denials {
	return &denials{now: now, record: record, kick: make(chan struct{}, 1), windows: map[cause]*window{}}
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
func (d *denials) note(reason, who string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.window(cause{reason, who})
	if w.count == 0 && w.until.IsZero() {
		w.until = d.now() // due now
		select {
		case d.kick <- struct{}{}:
		default: // run is about to look anyway
		}
	}
	w.count++
}

// window returns the window of c, a new one if need be. d.mu is held.
func (d *denials) window(c cause) *window {
	if d.windows[c] == nil && len(d.windows) >= maxWindows {
		c.who = ""
	}
	if d.windows[c] == nil {
		d.windows[c] = &window{}
	}
	return d.windows[c]
}

// due takes the counts whose time has come, all of them if last. A window in
// which nothing more came is closed.
func (d *denials) due(last bool) []bus.DeniedFact {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	var facts []bus.DeniedFact
	for c, w := range d.windows {
		switch {
		case now.Before(w.until) && !last:
		case w.count == 0:
			delete(d.windows, c)
		default:
			facts = append(facts, bus.DeniedFact{Time: now.UTC(), Where: name, Reason: c.reason, Who: c.who, Count: w.count})
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
		w := d.window(cause{f.Reason, f.Who})
		if w.until.IsZero() {
			w.until = d.now().Add(denialWindow)
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
