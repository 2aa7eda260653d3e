// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/tool"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/fold"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	maxFacts     = 1000            // that wait for the recall room
	factPage     = 100             // read at once
	handOverTime = 5 * time.Second // for those who want to read what was just kept

	patientTries = 3  // that the room fails at a fact before others go before it
	mostPassed   = 10 // facts in one round: beyond, it is the room that is at fault
)

// desk is how the agent speaks with the recall room. A fact to keep is written in the
// transaction of what it came from, a step of a turn for instance, and handed to the
// room from there, in order and as often as it takes: by its id the room keeps it once.
type desk struct {
	s       *Service
	off     bool          // there is nobody at the other side
	busy    chan struct{} // taken by who hands over
	wake    chan struct{}
	waiting atomic.Int64

	// Only who is busy uses these.
	taken      []int64       // the room has them, the list could not be told yet
	failed     map[int64]int // how often the room has failed at a fact
	unreadable int64         // the last fact that was told of for that
}

var _ tool.Recall = (*desk)(nil)

func newDesk(s *Service, off bool) *desk {
	return &desk{s: s, off: off, busy: make(chan struct{}, 1), wake: make(chan struct{}, 1), failed: map[int64]int{}}
}

// Ready refuses a fact while too many wait.
func (d *desk) Ready() error {
	if n := d.waiting.Load(); n >= maxFacts {
		return bus.Errorf(bus.CodeBusy, "%d facts wait to be kept already; try again later", n)
	}
	return nil
}

// Keep lists a fact.
func (d *desk) Keep(tx *sqlite.Tx, a bus.RecallAdd) error {
	payload, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode fact: %w", err)
	}
	if _, err := tx.Exec(`INSERT INTO fact (payload) VALUES (?)`, payload); err != nil {
		return err
	}
	tx.AfterCommit(func() {
		d.waiting.Add(1)
		wake(d.wake)
	})
	return nil
}

// Search asks the room, after what waits was handed over if that is possible.
func (d *desk) Search(ctx context.Context, q bus.RecallQuery) (bus.RecallHits, error) {
	d.catchUp(ctx)
	return bus.RecallSearch.Ask(ctx, d.s.bus(), q)
}

// Forget has the room forget, also what was still on its way there, but for facts that it fails at.
func (d *desk) Forget(ctx context.Context, f bus.RecallForget) (bus.RecallForgotten, error) {
	d.catchUp(ctx)
	out, err := bus.RecallDrop.Ask(ctx, d.s.bus(), f)
	if err == nil && out.Count > 0 {
		err = d.leave(ctx, f.Owner)
	}
	return out, err
}

// leave has nobody look back any more at what a person said until now: it has what was
// forgotten. The room refuses facts of before by itself; with this it gets those of after.
func (d *desk) leave(ctx context.Context, person string) error {
	places := []string(d.s.people[person])
	if len(places) == 0 {
		places = []string{person}
	}
	err := d.s.store.Write(ctx, func(tx *sqlite.Tx) error {
		for _, at := range places {
			channel, owner, _ := splitPlace(at)
			if _, err := tx.Exec(`UPDATE session SET extracted = max(extracted, coalesce((SELECT max(seq) FROM message WHERE session_id = session.id), 0))
				WHERE channel = ? AND owner = ?`, channel, owner); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("leave earlier conversations alone: %w", err)
	}
	return nil
}

// catchUp hands over what waits. Where that fails, the room says so to whoever asks it.
func (d *desk) catchUp(ctx context.Context) {
	if d.waiting.Load() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	if err := d.handOver(ctx); err != nil {
		d.s.log.Debug("facts wait for the recall room", "service", "agent", "err", err)
	}
}

// run hands over until ctx ends; the rest stays for the next start.
func (d *desk) run(ctx context.Context) error {
	if d.off {
		<-ctx.Done()
		return nil
	}
	retry := time.NewTicker(d.s.pauses.recall)
	defer retry.Stop()
	moved := false // what earlier versions kept, and what was kept of places before they got a name
	for {
		err := d.handOver(ctx)
		if err == nil && !moved {
			if err = d.handNotes(ctx); err == nil {
				err = d.adopt(ctx)
			}
			moved = err == nil
		}
		if err != nil && ctx.Err() == nil {
			d.s.log.Warn("facts wait for the recall room", "service", "agent", "waiting", d.waiting.Load(), "err", err)
		}
		select {
		case <-d.wake:
		case <-retry.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// fact is one row.
type fact struct {
	id  int64
	add bus.RecallAdd
	err error // it cannot be read
}

// handOver hands over all that waits. It ends with the first fact that the room cannot
// take now: it may not take others before it, for the later one of two is the truer. But
// what it fails at again and again is passed by, so that it does not hold up all others for ever.
func (d *desk) handOver(ctx context.Context) error {
	select {
	case d.busy <- struct{}{}:
		defer func() { <-d.busy }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := d.strike(ctx); err != nil { // first, for what is struck may have been forgotten meanwhile
		return err
	}
	var passed []fact
	for after := int64(0); ; {
		page, err := d.page(ctx, after)
		if err != nil {
			return fmt.Errorf("read facts: %w", err)
		}
		if len(page) == 0 {
			return passedBy(len(passed))
		}
		after = page[len(page)-1].id
		for _, f := range page {
			if passed, err = d.handOrPass(ctx, f, passed); err != nil {
				return errors.Join(err, d.strike(ctx))
			}
		}
		if err := d.strike(ctx); err != nil {
			return err
		}
	}
}

// passedBy is the error of a round in which the room failed at so many facts.
func passedBy(n int) error {
	if n == 0 {
		return nil
	}
	return fmt.Errorf("the recall room fails at %d of them", n)
}

// handOrPass hands over one fact, or adds it to those that are passed by in this round. What
// is about the same as one of those waits with it.
func (d *desk) handOrPass(ctx context.Context, f fact, passed []fact) ([]fact, error) {
	if f.err != nil { // it stays listed, as evidence, and holds up none behind it
		d.tellUnreadable(f)
		return passed, nil
	}
	if slices.ContainsFunc(passed, func(p fact) bool {
		return fold.Key(f.add.About) != "" && p.add.Owner == f.add.Owner && fold.Key(p.add.About) == fold.Key(f.add.About)
	}) {
		return passed, nil
	}
	err := d.hand(ctx, f)
	switch {
	case err == nil:
		delete(d.failed, f.id)
		return passed, nil
	case !errors.Is(err, &bus.Error{Code: bus.CodeInternal}): // the room is away, or has no time or place
		return passed, err
	}
	d.failed[f.id]++
	if d.failed[f.id] < patientTries || len(passed) == mostPassed {
		return passed, err
	}
	if d.failed[f.id] == patientTries {
		d.s.log.Error("the recall room fails at a fact: it is tried again, and others go before it", "service", "agent", "fact", f.add.ID, "err", err)
	}
	return append(passed, f), nil
}

// tellUnreadable tells of each once: they come in the order of their ids, in every round.
func (d *desk) tellUnreadable(f fact) {
	if f.id <= d.unreadable {
		return
	}
	d.unreadable = f.id
	d.s.metrics.factsRefused.Inc()
	d.s.log.Error("a fact is not kept: it cannot be read", "service", "agent", "row", f.id, "err", f.err)
}

// hand gives one fact to the room. What the room refuses for good is told in the log,
// and counted; there is nobody left to hear of it.
func (d *desk) hand(ctx context.Context, f fact) error {
	failpoint.Hit("recall.ask")
	_, err := bus.RecallKeep.Ask(ctx, d.s.bus(), f.add)
	switch code := bus.CodeOf(err); {
	case err == nil:
	case code == bus.CodeConflict && f.add.Source == bus.RecallSession: // the person had something forgotten since
		d.s.log.Info("a fact of an earlier conversation is not kept", "service", "agent", "fact", f.add.ID, "err", err)
	case code == bus.CodeInvalid, code == bus.CodeTooLarge, code == bus.CodeConflict:
		d.s.metrics.factsRefused.Inc()
		d.s.log.Error("the recall room refuses a fact", "service", "agent", "fact", f.add.ID, "err", err)
	default:
		return fmt.Errorf("keep fact %s: %w", f.add.ID, err)
	}
	failpoint.Hit("recall.kept")
	d.taken = append(d.taken, f.id)
	return nil
}

// strike takes what the room has off the list.
func (d *desk) strike(ctx context.Context) error {
	if len(d.taken) == 0 {
		return nil
	}
	ids := d.taken
	err := d.s.store.Write(ctx, func(tx *sqlite.Tx) error {
		if err := tx.Overwrite(); err != nil { // or what is forgotten later would still be here
			return err
		}
		for _, id := range ids {
			if _, err := tx.Exec(`DELETE FROM fact WHERE id = ?`, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("strike facts: %w", err)
	}
	d.taken = nil
	d.waiting.Add(-int64(len(ids)))
	return nil
}

func (d *desk) page(ctx context.Context, after int64) ([]fact, error) {
	return query(ctx, d.s.store, `SELECT id, payload FROM fact WHERE id > ? ORDER BY id LIMIT ?`, func(rows *sql.Rows, f *fact) error {
		var payload []byte
		if err := rows.Scan(&f.id, &payload); err != nil {
			return err
		}
		f.err = json.Unmarshal(payload, &f.add)
		return nil
	}, after, factPage)
}

// count is for the start.
func (d *desk) count(ctx context.Context) error {
	var n int64
	if err := d.s.store.QueryRow(ctx, `SELECT count(*) FROM fact`).Scan(&n); err != nil {
		return fmt.Errorf("count facts: %w", err)
	}
	d.waiting.Store(n)
	return nil
}
