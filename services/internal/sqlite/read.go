// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"sync"
)

// keptReads bounds the prepared statements of the readers. One takes a few kilobytes
// outside the Go heap, on each reader that has run it.
const keptReads = 32

// readStmts keeps the readers' most recently used statements prepared: to compile one
// takes longer than to run it. Who runs one holds it, so that it is not closed under
// way; that is only until the query has begun, for then its rows hold it.
type readStmts struct {
	limit int

	mu     sync.Mutex
	tick   uint64
	byText map[string]*readStmt
}

type readStmt struct {
	*sql.Stmt
	tick uint64 // last use
	held int    // by so many who begin a query
	gone bool   // it is closed when nobody holds it
}

// get returns a prepared statement, or nil when query does not compile, in which case
// running it gives the error. done is called when the query has begun.
func (c *readStmts) get(ctx context.Context, db *sql.DB, query string) (st *readStmt, done func()) {
	if st = c.take(query); st == nil && c.limit > 0 {
		prepared, err := db.PrepareContext(ctx, query)
		if err != nil {
			return nil, func() {}
		}
		st = c.add(query, prepared)
	}
	return st, func() { c.release(st) }
}

// take holds a statement that is kept.
func (c *readStmts) take(query string) *readStmt {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.byText[query]
	if st != nil {
		c.tick++
		st.held, st.tick = st.held+1, c.tick
	}
	return st
}

// add keeps and holds a statement, unless somebody was faster, and lets the one go
// that was not used for longest.
func (c *readStmts) add(query string, prepared *sql.Stmt) *readStmt {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byText == nil {
		c.byText = map[string]*readStmt{}
	}
	if st := c.byText[query]; st != nil {
		_ = prepared.Close() // it was never used
		st.held++
		return st
	}
	if len(c.byText) >= c.limit {
		oldest := ""
		for text, st := range c.byText {
			if oldest == "" || st.tick < c.byText[oldest].tick {
				oldest = text
			}
		}
		c.drop(oldest)
	}
	c.tick++
	st := &readStmt{Stmt: prepared, tick: c.tick, held: 1}
	c.byText[query] = st
	return st
}

func (c *readStmts) release(st *readStmt) {
	if st == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.held--; st.held == 0 && st.gone {
		_ = st.Close() // what it has read, somebody has
	}
}

// drop forgets one. c.mu is held.
func (c *readStmts) drop(text string) {
	st := c.byText[text]
	delete(c.byText, text)
	if st.gone = true; st.held == 0 {
		_ = st.Close() // what it has read, somebody has
	}
}

// clear forgets all.
func (c *readStmts) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for text := range c.byText {
		c.drop(text)
	}
}
