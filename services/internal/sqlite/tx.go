// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"unicode"
)

// Tx is a write function's view of the writer's transaction. It is valid
// until the function returns and belongs to that function's goroutine. Rows
// still open then are closed.
//
// SQL that starts or ends transactions is refused, and a conflict clause must
// not be ROLLBACK: the transaction is shared with other callers.
//
// A time.Time argument is stored as Unix milliseconds.
type Tx struct {
	w     *writer
	err   error // first error after which SQLite may have given the transaction up
	over  bool
	after []func()
	rows  []*sql.Rows
	row   []*sql.Row
	used  []*stmt // statements with an open cursor in rows or row
}

// Exec runs a statement, or several separated by semicolons.
func (t *Tx) Exec(query string, args ...any) (sql.Result, error) {
	st, err := t.stmt(query)
	if err != nil {
		return nil, err
	}
	var res sql.Result
	if st != nil {
		res, err = st.ExecContext(t.w.ctx, args...)
	} else {
		res, err = t.w.conn.ExecContext(t.w.ctx, query, args...)
	}
	return res, t.note(err)
}

// Query runs a statement that returns rows.
func (t *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	st, err := t.stmt(query)
	if err != nil {
		return nil, err
	}
	var rows *sql.Rows
	if st != nil {
		rows, err = st.QueryContext(t.w.ctx, args...)
	} else {
		rows, err = t.w.conn.QueryContext(t.w.ctx, query, args...)
	}
	if err != nil {
		return nil, t.note(err)
	}
	t.rows = append(t.rows, rows)
	if st != nil {
		st.rows = rows
		t.used = append(t.used, st)
	}
	return rows, nil
}

// QueryRow runs a statement for its first row; Scan reports any error.
func (t *Tx) QueryRow(query string, args ...any) *sql.Row {
	st, err := t.stmt(query)
	if err != nil {
		return failedRow(t.w.ctx, err)
	}
	var row *sql.Row
	if st != nil {
		row = st.QueryRowContext(t.w.ctx, args...)
		st.row = true
		t.used = append(t.used, st)
	} else {
		row = t.w.conn.QueryRowContext(t.w.ctx, query, args...)
	}
	t.row = append(t.row, row)
	_ = t.note(row.Err()) // Scan returns it
	return row
}

// AfterCommit has fn run on the writer's goroutine once the transaction is
// committed, in the order of calls and writes, before Write returns. fn must
// not block. It is dropped when the write is rolled back.
func (t *Tx) AfterCommit(fn func()) { t.after = append(t.after, fn) }

// Overwrite makes sure that what this transaction deletes from now on is not left behind in the file: SQLite writes zeros
// over it. That takes some more writing. What stood in the write-ahead log before stays there until [Store.EmptyLog].
func (t *Tx) Overwrite() error {
	if t.w.overwrites {
		return nil
	}
	// It answers with a row, so it is a query.
	var on int
	if err := t.QueryRow(`PRAGMA secure_delete = 1`).Scan(&on); err != nil {
		return fmt.Errorf("overwrite what is deleted: %w", err)
	}
	t.w.overwrites = true
	return nil
}

// stmt returns the prepared statement for query, or nil when query is better
// run without: because the prepared one has a cursor open, or does not
// compile, in which case running it gives the error.
func (t *Tx) stmt(query string) (*stmt, error) {
	if t.over {
		return nil, errTxOver
	}
	if t.err != nil {
		return nil, t.err
	}
	st := t.w.stmts.get(query)
	if st == nil {
		if word, bad := endsTransaction(query); bad {
			return nil, fmt.Errorf("refuse %s: the transaction is shared", word)
		}
		st = t.w.stmts.add(t.w.ctx, t.w.conn, query)
	}
	if st != nil && st.open() {
		return nil, nil
	}
	return st, nil
}

// note remembers an error after which later statements could run outside the
// transaction, and so must not run at all.
func (t *Tx) note(err error) error {
	if err == nil {
		return nil
	}
	err = classify(err)
	if t.err == nil && mayEndTransaction(err) {
		t.err = err
	}
	return err
}

// finish closes what the function left open: an open cursor would keep the
// transaction from rolling back cleanly and the statement from reuse.
func (t *Tx) finish() {
	t.over = true
	for _, r := range t.rows {
		_ = r.Close() // whoever read the rows has seen their error
	}
	for _, r := range t.row {
		_ = r.Scan() // the only way to close a Row; harmless once scanned
	}
	for _, st := range t.used {
		st.rows, st.row = nil, false
	}
}

// endsTransaction reports whether query begins with a word that would open or
// close a transaction or savepoint. It guards against a slip, not an intent:
// it does not look behind a comment or a semicolon.
func endsTransaction(query string) (word string, bad bool) {
	query = strings.TrimSpace(query)
	if end := strings.IndexFunc(query, func(r rune) bool { return !unicode.IsLetter(r) }); end >= 0 {
		query = query[:end]
	}
	word = strings.ToUpper(query)
	switch word {
	case "BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE":
		return word, true
	}
	return "", false
}

// failedRow is a Row whose Scan returns err. database/sql makes one only for
// an error of its own, such as a connection that cannot be had.
func failedRow(ctx context.Context, err error) *sql.Row {
	db := sql.OpenDB(unconnectable{err})
	defer db.Close()
	return db.QueryRowContext(ctx, "")
}

type unconnectable struct{ err error }

func (u unconnectable) Connect(context.Context) (driver.Conn, error) { return nil, u.err }
func (u unconnectable) Driver() driver.Driver                        { return nil }

// stmt is one prepared statement of the writer's connection. SQLite gives it
// a single cursor, so while rows are being read it cannot be used again.
type stmt struct {
	*sql.Stmt
	tick uint64    // last use, for eviction
	rows *sql.Rows // cursor handed out in the current Tx
	row  bool      // a Row was handed out in the current Tx: perhaps not yet scanned
}

func (st *stmt) open() bool {
	if st.row {
		return true
	}
	if st.rows == nil {
		return false
	}
	_, err := st.rows.Columns() // fails exactly when they are closed
	return err == nil
}

// stmts keeps the writer's most recently used prepared statements.
type stmts struct {
	limit  int
	tick   uint64
	byText map[string]*stmt
}

func (c *stmts) get(query string) *stmt {
	st := c.byText[query]
	if st != nil {
		c.tick++
		st.tick = c.tick
	}
	return st
}

// add prepares query and keeps it, or returns nil if it does not compile.
func (c *stmts) add(ctx context.Context, conn *sql.Conn, query string) *stmt {
	prepared, err := conn.PrepareContext(ctx, query)
	if err != nil {
		return nil
	}
	if len(c.byText) >= c.limit && !c.evict() {
		_ = prepared.Close()
		return nil
	}
	c.tick++
	st := &stmt{Stmt: prepared, tick: c.tick}
	c.byText[query] = st
	return st
}

// evict closes the statement unused for longest, if any is idle.
func (c *stmts) evict() bool {
	var oldest *stmt
	var text string
	for q, st := range c.byText {
		if !st.open() && (oldest == nil || st.tick < oldest.tick) {
			oldest, text = st, q
		}
	}
	if oldest == nil {
		return false
	}
	delete(c.byText, text)
	_ = oldest.Close()
	return true
}

// clear closes every statement.
func (c *stmts) clear() {
	for _, st := range c.byText {
		_ = st.Close()
	}
	clear(c.byText)
}
