// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/blufio/blufio/bus"
	_ "modernc.org/sqlite" // the database that the daemon leaves
)

// book lists the messages that were accepted, in a file: days of them do not fit
// into memory.
type book struct {
	path     string
	accepted atomic.Int64
	refused  atomic.Int64 // told to come back, or that it is too large
	broken   atomic.Int64 // no answer: not accepted as far as the sender knows

	mu   sync.Mutex
	file *os.File
	out  *bufio.Writer
	err  error
}

func newBook(path string) (*book, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &book{path: path, file: f, out: bufio.NewWriter(f)}, nil
}

// accept notes a message that the daemon has promised to keep.
func (b *book) accept(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.out.WriteString(id + "\n"); err != nil && b.err == nil {
		b.err = err
	}
	b.accepted.Add(1)
}

func (b *book) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.err, b.out.Flush(), b.file.Close())
}

// kept is what the stopped daemon's database has of the accepted messages.
type kept struct {
	lost     int64            // of no row, or of one that is another's already
	states   map[string]int64 // of the others
	examples []string         // ids of some that are lost
}

// ends are the states in which nothing more becomes of a message.
var ends = []string{bus.StateAnswered, bus.StateFailed, bus.StateDead}

// open are those with no end.
func (k kept) open() int64 { return k.states[bus.StateQueued] + k.states[bus.StateRunning] }

// failed are those whose end is no answer.
func (k kept) failed() int64 { return k.states[bus.StateFailed] + k.states[bus.StateDead] }

// found are those of which it is known what became of them, lost ones too.
func (k kept) found() int64 { return k.lost + k.open() + k.failed() + k.states[bus.StateAnswered] }

func (k *kept) lose(example string) {
	if k.lost++; k.lost <= 5 {
		k.examples = append(k.examples, example)
	}
}

// compare looks every accepted message up in the database of a stopped daemon.
func (b *book) compare(ctx context.Context, database string) (k kept, err error) {
	db, err := sql.Open("sqlite", "file:"+b.path+".db?_pragma=journal_mode(off)&_pragma=synchronous(off)")
	if err != nil {
		return k, err
	}
	defer func() { err = errors.Join(err, db.Close(), os.Remove(b.path+".db")) }()
	db.SetMaxOpenConns(1) // what is attached is so on one connection
	if err := b.load(ctx, db, &k); err != nil {
		return k, fmt.Errorf("read list of accepted messages: %w", err)
	}
	if _, err := db.ExecContext(ctx, `ATTACH ? AS daemon`, "file:"+database+"?mode=ro"); err != nil {
		return k, fmt.Errorf("open the daemon's database: %w", err)
	}
	k.states = map[string]int64{}
	err = rows(ctx, db, `SELECT m.state, count(*) FROM mine JOIN daemon.message m ON m.id = mine.id GROUP BY m.state`, func(scan func(...any) error) error {
		var state string
		var n int64
		if err := scan(&state, &n); err != nil {
			return err
		}
		if k.states[state] = n; !slices.Contains(ends, state) && state != bus.StateQueued && state != bus.StateRunning {
			return fmt.Errorf("%d messages are %q, which is no state", n, state)
		}
		return nil
	})
	if err != nil {
		return k, err
	}
	err = rows(ctx, db, `SELECT id FROM mine WHERE NOT EXISTS (SELECT 1 FROM daemon.message m WHERE m.id = mine.id)`, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		k.lose(id)
		return err
	})
	return k, err
}

// load puts the list into a table. Each message was another one, sent once and without a
// key: of two that were acknowledged with one id, the second is lost.
func (b *book) load(ctx context.Context, db *sql.DB, k *kept) error {
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after a commit
	if _, err := tx.Exec(`CREATE TABLE mine (id TEXT PRIMARY KEY) WITHOUT ROWID`); err != nil {
		return err
	}
	insert, err := tx.Prepare(`INSERT INTO mine VALUES (?) ON CONFLICT DO NOTHING`) // without a journal, what fails cannot be undone
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		res, err := insert.Exec(lines.Text())
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if n == 0 {
			k.lose(lines.Text() + ", acknowledged a second time,")
		}
	}
	return errors.Join(lines.Err(), insert.Close(), tx.Commit())
}

func rows(ctx context.Context, db *sql.DB, query string, each func(scan func(...any) error) error) error {
	r, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer r.Close()
	for r.Next() {
		if err := each(r.Scan); err != nil {
			return err
		}
	}
	return r.Err()
}
