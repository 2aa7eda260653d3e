// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Options say what to open and what it may use. Zero means the default.
type Options struct {
	Path     string        // database file; created with mode 0600 unless ReadOnly
	Readers  int           // reading connections, default 2
	CacheKiB int           // page cache per connection, default 1024; see the package doc for what it costs
	Queue    int           // most writes waiting, default 4096; one more gets ErrBusy
	Batch    int           // most writes in one commit, default 256
	Linger   time.Duration // longest a lazy write waits for company, default 20 ms
	ReadOnly bool          // never creates, migrates or writes
	Alone    bool          // with ReadOnly: nobody has it open for writing, so nothing is put beside it
	Program  string        // this program's version, kept when it changes tables; "" keeps none
	Logger   *slog.Logger  // required
}

func (o Options) withDefaults() Options {
	fill := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	fill(&o.Readers, 2)
	fill(&o.CacheKiB, 1024)
	fill(&o.Queue, 4096)
	fill(&o.Batch, 256)
	if o.Linger <= 0 {
		o.Linger = 20 * time.Millisecond
	}
	return o
}

// Bytes is the most memory that the page caches take, of the writer and all readers.
func (o Options) Bytes() int64 {
	o = o.withDefaults()
	return int64(o.Readers+1) * 2 * int64(o.CacheKiB) << 10
}

// Store is an open database. Its methods may be called from any goroutine.
type Store struct {
	readers *sql.DB
	kept    readStmts
	writer  *writer // nil when read-only
	meter   *meter
	program string // of Options

	closing  sync.Once
	closeErr error
}

// Open opens or creates the database at o.Path. It fails with ErrNotBlufio or
// ErrCorrupt before touching a file that is not a database of blufio. The
// caller makes sure that no other process opens the same path for writing.
func Open(ctx context.Context, o Options) (*Store, error) {
	o = o.withDefaults()
	if o.Path == "" || o.Logger == nil {
		return nil, errors.New("open database: Options need a Path and a Logger")
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	o.Path = path
	s, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", o.Path, classify(err))
	}
	return s, nil
}

func open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{program: o.Program, meter: newMeter(o.Path), kept: readStmts{limit: keptReads}}
	if o.ReadOnly {
		err := s.openReadOnly(ctx, o)
		return s, err
	}
	if err := prepareFile(ctx, o.Path); err != nil {
		return nil, err
	}
	w, err := newWriter(ctx, writerDSN(o), o, s.meter)
	if err != nil {
		return nil, err
	}
	if s.readers, err = openDB(readerDSN(o), o.Readers); err != nil {
		return nil, errors.Join(err, w.conn.Close(), w.db.Close())
	}
	s.writer = w
	go w.run()
	return s, nil
}

// Close writes what is queued, empties the write-ahead log into the database
// and closes it. Calls after the first wait for it and return the same.
func (s *Store) Close() error {
	s.closing.Do(func() {
		if s.writer != nil {
			s.writer.drain() // its hooks may still read
		}
		s.kept.clear()
		err := s.readers.Close()
		if s.writer != nil { // last, so that no reader holds up the checkpoint
			err = errors.Join(err, s.writer.close())
		}
		if err != nil {
			s.closeErr = fmt.Errorf("close database: %w", err)
		}
	})
	return s.closeErr
}

// Write runs fn in the writer's transaction, after all writes queued before
// it, and returns nil once that transaction is committed and synced to disk.
//
// fn runs on the writer's goroutine under a savepoint of its own: its error or
// panic ([*PanicError]) undoes only what it did. It must do nothing but SQL
// and set variables of the caller's, which the caller must not use if Write
// fails, and it must not call Write.
//
// A context that ends while the write is queued withdraws it, and Write
// returns the context's error. Once its transaction has begun, Write waits for
// the outcome: it never reports as undone what was written.
//
// An error from the commit itself, such as ErrFull, goes to every write of
// that commit, and none of them is visible afterwards; so does ErrCorrupt, but
// only once: from then on each write has a commit of its own. After a failing disk
// loses power as well, one may turn out to be there: retry with an id.
func (s *Store) Write(ctx context.Context, fn func(tx *Tx) error) error {
	if s.writer == nil {
		return ErrReadOnly
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{fn: fn, wait: make(chan struct{})}
	wait := j.wait
	if err := s.writer.queue.put(j); err != nil {
		return err
	}
	select {
	case <-wait:
		return j.err
	case <-ctx.Done():
	}
	if j.take() {
		return ctx.Err()
	}
	<-wait
	return j.err
}

// WriteLazy queues fn, under the rules of [Store.Write], without asking for a
// commit: it joins the next one, in order, or gets its own after
// Options.Linger. It returns at once with nil, ErrBusy, ErrClosed or
// ErrReadOnly. After nil, done, unless it is nil, gets the outcome exactly
// once, on the writer's goroutine, where it must not block.
func (s *Store) WriteLazy(fn func(tx *Tx) error, done func(error)) error {
	if s.writer == nil {
		return ErrReadOnly
	}
	return s.writer.queue.put(&job{fn: fn, done: done, lazy: true, since: time.Now()})
}

// Query reads from a snapshot of what was committed when it began. The caller
// closes the rows soon: while they are open the write-ahead log only grows,
// and one of few readers is taken. A write through it fails.
func (s *Store) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	var rows *sql.Rows
	st, done := s.kept.get(ctx, s.readers, query)
	defer done()
	var err error
	if st != nil {
		rows, err = st.QueryContext(ctx, args...)
	} else {
		rows, err = s.readers.QueryContext(ctx, query, args...)
	}
	if err != nil {
		return nil, classify(err)
	}
	return rows, nil
}

// QueryRow is Query for the first row; Scan reports any error and must be
// called, for it gives the reader back.
func (s *Store) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	st, done := s.kept.get(ctx, s.readers, query)
	defer done()
	if st != nil {
		return st.QueryRowContext(ctx, args...)
	}
	return s.readers.QueryRowContext(ctx, query, args...)
}

// EmptyLog moves the write-ahead log into the database and makes the file empty, so that nothing which was deleted is
// left in it. It waits for nobody: done is false while somebody reads or writes, and the caller tries again.
func (s *Store) EmptyLog(ctx context.Context) (done bool, err error) {
	conn, err := s.readers.Conn(ctx)
	if err != nil {
		return false, classify(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return false, classify(err)
	}
	var busy, logged, moved int
	err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &logged, &moved)
	_, patient := conn.ExecContext(ctx, "PRAGMA busy_timeout = "+strconv.Itoa(busyTimeoutMS))
	if err != nil || patient != nil {
		return false, classify(errors.Join(err, patient))
	}
	return busy == 0, nil
}

// Shrink gives back the memory of caches and prepared statements, which lies
// outside the Go heap, and closes the readers; the next query opens one. It waits for
// queued writes, or for ctx; a reader that is busy keeps what it has. It returns how many
// bytes of pages the caches let go of; who reads meanwhile fills them again, and makes
// that less.
func (s *Store) Shrink(ctx context.Context) (freed int64, err error) {
	before := cached()
	s.closeReaders()
	if err := s.shrinkWriter(ctx); err != nil {
		return 0, fmt.Errorf("shrink writer: %w", err)
	}
	freed = max(0, before-cached())
	trim()
	return freed, nil
}

func (s *Store) shrinkWriter(ctx context.Context) error {
	if s.writer == nil {
		return nil
	}
	return s.Write(ctx, func(tx *Tx) error {
		tx.w.stmts.clear()
		_, err := tx.Exec("PRAGMA shrink_memory")
		return err
	})
}

// closeReaders closes those that nobody uses: the pool keeps none, and then as many as
// it may again. It waits for nobody, so that a long read holds up no other.
func (s *Store) closeReaders() {
	s.kept.clear()
	s.readers.SetMaxIdleConns(0)
	s.readers.SetMaxIdleConns(s.readers.Stats().MaxOpenConnections)
}
