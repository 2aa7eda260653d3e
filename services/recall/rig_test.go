// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

var noon = time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// rig is the room on a bus of its own.
type rig struct {
	testing.TB
	*Service
	clock *clock
	cfg   Config
	path  string
	store *sqlite.Store
	bus   *bustest.Bus
	ask   *bus.Conn
	stop  func()
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{TB: t, clock: &clock{t: noon}, cfg: Defaults(), path: filepath.Join(t.TempDir(), "blufio.db"), bus: bustest.New(t)}
	if change != nil {
		change(&r.cfg)
	}
	r.ask = r.bus.Operator(t, bus.RecallSearch, bus.RecallKeep, bus.RecallList, bus.RecallDrop, bus.RecallImport, bus.RecallGet)
	r.begin()
	return r
}

func (r *rig) begin() {
	r.Helper()
	r.store = roomtest.OpenStore(r, r.path, Schema)
	s, err := New(r.cfg, Deps{Store: r.store, Events: eventlog.New(r.store), Logger: bustest.Logger(r), Now: r.clock.now,
		After: func(d time.Duration) <-chan time.Time {
			if d >= sweepEvery {
				return nil
			}
			return time.After(min(d, 5*time.Millisecond))
		}})
	if err != nil {
		r.Fatal(err)
	}
	r.Service, r.stop = s, roomtest.Start(r, r.bus, s)
}

// restart ends the room and begins it with another configuration, as the next boot would.
func (r *rig) restart(change func(*Config)) {
	r.Helper()
	r.stop()
	if err := r.store.Close(); err != nil {
		r.Fatal(err)
	}
	if change != nil {
		change(&r.cfg)
	}
	r.begin()
}

func (r *rig) keep(id, text string, change ...func(*bus.RecallAdd)) bus.RecallAdded {
	r.Helper()
	q := bus.RecallAdd{ID: id, Owner: "terminal:owner", Text: text, Source: bus.RecallPerson, Importance: 0.5}
	for _, c := range change {
		c(&q)
	}
	out, err := bus.RecallKeep.Ask(r.Context(), r.ask, q)
	if err != nil {
		r.Fatalf("add %s: %v", id, err)
	}
	return out
}

func about(what string) func(*bus.RecallAdd)  { return func(q *bus.RecallAdd) { q.About = what } }
func owner(whose string) func(*bus.RecallAdd) { return func(q *bus.RecallAdd) { q.Owner = whose } }
func importance(v float64) func(*bus.RecallAdd) {
	return func(q *bus.RecallAdd) { q.Importance = v }
}

func (r *rig) find(text string) []bus.RecallHit {
	r.Helper()
	out, err := bus.RecallSearch.Ask(r.Context(), r.ask, bus.RecallQuery{Owner: "terminal:owner", Text: text})
	if err != nil {
		r.Fatalf("search %q: %v", text, err)
	}
	return out.Hits
}

func (r *rig) state() bus.RecallStatus {
	r.Helper()
	st, err := bus.RecallGet.Ask(r.Context(), r.ask, bus.RecallStatusQuery{})
	if err != nil {
		r.Fatal(err)
	}
	return st
}

// settle waits until every fact has its vector.
func (r *rig) settle() {
	r.Helper()
	r.until("every fact has a vector", func() bool {
		var missing int
		err := r.store.QueryRow(r.Context(), `SELECT count(*) FROM recall_entry e WHERE superseded_by IS NULL AND NOT EXISTS
			(SELECT 1 FROM recall_vector v WHERE v.n = e.n AND v.embedder = ?)`, r.state().Embedder).Scan(&missing)
		return err == nil && missing == 0 && r.state().Pending == 0
	})
}

func (r *rig) until(what string, is func() bool) {
	r.Helper()
	bustest.Eventually(r, what, is, func() any { return r.state() })
}

func (r *rig) all(history bool) []bus.RecallEntry {
	r.Helper()
	var out []bus.RecallEntry
	q := bus.RecallPageQuery{History: history}
	for {
		page, err := bus.RecallList.Ask(r.Context(), r.ask, q)
		if err != nil {
			r.Fatal(err)
		}
		out = append(out, page.Entries...)
		if q.After = page.Next; q.After == "" {
			return out
		}
	}
}

func (r *rig) number(query string, args ...any) (n int) {
	r.Helper()
	if err := r.store.QueryRow(r.Context(), query, args...).Scan(&n); err != nil {
		r.Fatal(err)
	}
	return n
}

// said are the payloads of a fact's events.
func (r *rig) said(lane bus.Lane) []string {
	r.Helper()
	var out []string
	for _, e := range roomtest.Events(r, r.d.Events) {
		if e.Subject == lane.Spec().Subject() {
			out = append(out, string(e.Payload))
		}
	}
	return out
}

func id(i int) string { return fmt.Sprintf("fact-%d", i) }
