// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// keptStatements bounds the prepared statements of the writer. One takes a
// few kilobytes outside the Go heap.
const keptStatements = 128

// writer owns the one writing connection and the goroutine that uses it.
type writer struct {
	ctx   context.Context // without an end: what was accepted is finished
	db    *sql.DB
	conn  *sql.Conn
	stmts stmts
	queue *queue
	meter *meter
	log   *slog.Logger

	batch      []*job        // being committed
	overwrites bool          // what is deleted, until the transaction ends
	damaged    bool          // the database is: each job has a transaction of its own from here on
	done       chan struct{} // closed when the goroutine has ended
}

func newWriter(ctx context.Context, dsn string, o Options, m *meter) (*writer, error) {
	db, err := openDB(dsn, 1)
	if err != nil {
		return nil, err
	}
	w := &writer{
		ctx:   context.WithoutCancel(ctx),
		db:    db,
		stmts: stmts{limit: keptStatements, byText: make(map[string]*stmt)},
		queue: newQueue(o.Queue, o.Batch, o.Linger),
		meter: m,
		log:   o.Logger,
		done:  make(chan struct{}),
	}
	if w.conn, err = db.Conn(ctx); err != nil {
		return nil, errors.Join(classify(err), db.Close())
	}
	if err := useTempDir(ctx, w.conn, filepath.Dir(o.Path)); err != nil {
		return nil, errors.Join(err, w.conn.Close(), db.Close())
	}
	return w, nil
}

// useTempDir has SQLite spill large sorts and statement journals beside the
// database. Its own choice, /var/tmp or /tmp, need not exist in a container,
// and is not the place for what people said. Keeping them in memory instead
// would put no bound on them. The setting is the process's, the only one
// SQLite has; were the directory to vanish, it would go back to its own choice.
func useTempDir(ctx context.Context, conn *sql.Conn, dir string) error {
	quoted := "'" + strings.ReplaceAll(dir, "'", "''") + "'"
	_, err := conn.ExecContext(ctx, "PRAGMA temp_store_directory = "+quoted)
	return err
}

// run commits batches until the queue is closed and empty.
func (w *writer) run() {
	ended := false
	defer func() {
		if ended {
			close(w.done)
			return
		}
		// A write function called runtime.Goexit (testing.T.FailNow does).
		// It ends this goroutine whatever we do; the work goes on in another.
		w.rollback()
		w.fail(w.batch, errGoexit)
		go w.run()
	}()
	for {
		next := w.queue.next()
		if next == nil {
			ended = true
			return
		}
		w.batch = taken(next)
		for len(w.batch) > 0 {
			n := w.transaction(w.batch)
			w.batch = w.batch[n:]
		}
		// Those just answered may have the next write at hand: let them queue
		// it, so that it shares the coming commit instead of following it.
		runtime.Gosched()
	}
}

// taken claims the jobs of a batch and leaves out those whose caller has gone.
// From here on a caller waits for the outcome, whatever becomes of its context.
func taken(batch []*job) []*job {
	return slices.DeleteFunc(batch, func(j *job) bool { return !j.take() })
}

// transaction commits as much of batch as fits in one transaction, answers
// those jobs and returns how many they were: all, unless SQLite gave the
// transaction up on the way.
func (w *writer) transaction(batch []*job) int {
	if err := w.begin(); err != nil {
		w.fail(batch, w.meter.failed(fmt.Errorf("begin transaction: %w", err)))
		return len(batch)
	}
	defer w.overwritten()
	if w.damaged {
		batch = batch[:1]
	}
	alone, written := len(batch) == 1, 0
	for i, j := range batch {
		if lost := w.apply(j, alone); lost != nil {
			w.rollback()
			w.fail(batch[:i+1], w.meter.failed(fmt.Errorf("transaction rolled back: %w", lost)))
			return i + 1
		}
		if j.err == nil {
			written++
		}
	}
	if written == 0 {
		w.rollback()
	} else if err := w.commit(written); err != nil {
		w.rollback()
		w.fail(batch, w.meter.failed(fmt.Errorf("commit: %w", err)))
		return len(batch)
	}
	w.answer(batch)
	return len(batch)
}

// begin opens the transaction, on a fresh connection if the old one is no
// longer fit for it.
func (w *writer) begin() error {
	err := w.exec("BEGIN IMMEDIATE")
	if err == nil || errors.Is(err, ErrBusy) || errors.Is(err, ErrFull) {
		return err
	}
	w.log.Warn("reopening the database after an error", "err", err)
	if err := w.reopen(); err != nil {
		return err
	}
	return w.exec("BEGIN IMMEDIATE")
}

func (w *writer) reopen() error {
	w.stmts.clear()
	// ErrBadConn makes the pool forget the connection instead of reusing it.
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = w.conn.Close()
	conn, err := w.db.Conn(w.ctx)
	if err != nil {
		return classify(fmt.Errorf("reopen: %w", err))
	}
	w.conn, w.overwrites = conn, false
	return nil
}

// apply runs one job. Its own failure is in j.err and undone; the returned
// error means that the whole transaction is lost: SQLite commits none in which
// it met damage, not even what was written elsewhere.
func (w *writer) apply(j *job, alone bool) (lost error) {
	if !alone { // a job alone has the transaction itself for a savepoint
		if err := w.exec("SAVEPOINT job"); err != nil {
			return err
		}
	}
	tx := &Tx{w: w}
	j.err = call(j.fn, tx)
	tx.finish()
	if tx.err != nil && j.err == nil {
		j.err = tx.err // the function overlooked it, or must not decide
	}
	if j.err == nil {
		j.after = tx.after
	}
	switch {
	case errors.Is(tx.err, ErrCorrupt):
		w.damaged = true
		return tx.err
	case alone: // the transaction rolls back or commits
		w.blame(tx)
		return nil
	case j.err == nil:
		return w.exec("RELEASE job")
	}
	if err := w.exec("ROLLBACK TO job"); err != nil {
		return j.err // the cause; that the savepoint is gone is its effect
	}
	w.blame(tx)
	return w.exec("RELEASE job")
}

// blame counts an error of the database that ended only one function's work.
func (w *writer) blame(tx *Tx) {
	if tx.err != nil {
		_ = w.meter.failed(tx.err) // its caller gets it
	}
}

// call runs fn and turns a panic into an error.
func call(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return fn(tx)
}

// overwritten ends what Tx.Overwrite began; indexes for full-text search are written at the commit only.
func (w *writer) overwritten() {
	if w.overwrites {
		w.overwrites = false
		_ = w.exec("PRAGMA secure_delete = 0") // if it fails, more is overwritten than need be
	}
}

func (w *writer) commit(jobs int) error {
	start := time.Now()
	if err := w.exec("COMMIT"); err != nil {
		return err
	}
	w.meter.committed(jobs, time.Since(start))
	return nil
}

// rollback ends the transaction. It fails only when there is none any more,
// or when the connection is broken, which the next begin finds out.
func (w *writer) rollback() { _ = w.exec("ROLLBACK") }

// exec runs one of the writer's own statements, prepared.
func (w *writer) exec(query string) error {
	st := w.stmts.get(query)
	if st == nil {
		if st = w.stmts.add(w.ctx, w.conn, query); st == nil {
			_, err := w.conn.ExecContext(w.ctx, query)
			return classify(err)
		}
	}
	_, err := st.ExecContext(w.ctx)
	return classify(err)
}

// fail answers every job of the batch with err, or with its own if it failed
// before.
func (w *writer) fail(batch []*job, err error) {
	for _, j := range batch {
		j.after = nil
		if j.err == nil {
			j.err = err
		}
	}
	w.answer(batch)
}

// answer runs the hooks of what was committed and tells the callers, in the
// order of the queue.
func (w *writer) answer(batch []*job) {
	for _, j := range batch {
		w.meter.answered(j.lazy)
		w.tell(j)
	}
}

func (w *writer) tell(j *job) {
	after, done, wait := j.after, j.done, j.wait
	j.after, j.done, j.wait = nil, nil, nil // once, even if a hook ends the goroutine
	if wait != nil {
		defer close(wait)
	}
	for _, fn := range after {
		w.guard(fn)
	}
	if done != nil {
		w.guard(func() { done(j.err) })
	}
}

// guard runs a caller's hook; a panic in it must not stop the writer.
func (w *writer) guard(fn func()) {
	defer func() {
		if v := recover(); v != nil {
			w.log.Error("panic in a hook after a write", "err", v, "stack", string(debug.Stack()))
		}
	}()
	fn()
}

// drain ends intake and waits until the queue is written.
func (w *writer) drain() {
	w.queue.close()
	<-w.done
}

// close empties the write-ahead log into the database, as far as readers let
// it, and closes the connection. drain comes first.
func (w *writer) close() error {
	w.stmts.clear()
	var busy, logged, moved int
	err := w.conn.QueryRowContext(w.ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &logged, &moved)
	if err != nil {
		err = classify(fmt.Errorf("checkpoint: %w", err))
	}
	return errors.Join(err, w.conn.Close(), w.db.Close())
}
