// SPDX-License-Identifier: MIT OR Apache-2.0

// Package blob keeps files that came with messages, in the database, so that a
// backup has them too.
//
//	info, err := blobs.Put(ctx, body, blob.Info{Name: "plan.pdf", MediaType: "application/pdf"})
//	…
//	data, err := blobs.Read(ctx, info.ID, 1<<20)
//
// A file is written in pieces, each a small transaction of its own, so that a
// large one neither fills the memory nor holds up the writer. It exists once the
// last piece is there; what a crash cut off is swept.
//
// Who needs a file [Hold]s it in the transaction that stores the need, and
// [Release]s it in the one that ends it. [Store.Sweep] deletes what nobody holds
// and is older than Limits.Keep.
//
// Three bounds: the size of one file, the size of all, and the age.
package blob

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"
)

// Schema are the library's tables.
var Schema = sqlite.Schema{Room: "blob", Steps: []string{`
CREATE TABLE blob (
	id         TEXT PRIMARY KEY,
	name       TEXT NOT NULL,
	media_type TEXT NOT NULL,
	bytes      INTEGER NOT NULL DEFAULT 0,
	whole      INTEGER NOT NULL DEFAULT 0, -- 1 when the last piece is there
	held       INTEGER NOT NULL DEFAULT 0, -- by how many
	created_at INTEGER NOT NULL            -- Unix milliseconds
) WITHOUT ROWID;
CREATE INDEX blob_created ON blob (created_at);
CREATE TABLE blob_piece (
	blob_id TEXT NOT NULL REFERENCES blob (id) ON DELETE CASCADE,
	n       INTEGER NOT NULL,
	data    BLOB NOT NULL,
	PRIMARY KEY (blob_id, n)
);
`}}

// Errors to test for.
var (
	ErrTooLarge = errors.New("the file is larger than is kept")
	ErrFull     = errors.New("there is no room for more files")
	ErrNotFound = errors.New("the file is not kept any more")
)

const (
	pieceBytes = 128 << 10
	sweepRows  = 32 // deleted in one transaction
)

// Limits bound the store.
type Limits struct {
	Blob int64         // bytes of one file
	Sum  int64         // bytes of all
	Keep time.Duration // how old a file gets that nobody holds
}

// Info describes a file.
type Info struct {
	ID        string
	Name      string
	MediaType string
	Bytes     int64
}

// Store keeps the files.
type Store struct {
	db     *sqlite.Store
	limits Limits
	now    func() time.Time

	mu   sync.Mutex
	used int64 // bytes kept or being written; -1 before the first look
}

// New returns the files kept in db.
func New(db *sqlite.Store, l Limits, now func() time.Time) *Store {
	return &Store{db: db, limits: l, now: now, used: -1}
}

// Limits returns the bounds.
func (s *Store) Limits() Limits { return s.limits }

// Put keeps what r gives, under a new id. ErrTooLarge and ErrFull say which bound
// refused it; nothing of it is kept then.
func (s *Store) Put(ctx context.Context, r io.Reader, in Info) (Info, error) {
	if err := s.look(ctx); err != nil {
		return Info{}, fmt.Errorf("keep file: %w", err)
	}
	in.ID, in.Bytes = nuid.Next(), 0
	noted, err := s.write(ctx, r, &in)
	if err != nil {
		s.undo(ctx, in, noted)
		return Info{}, fmt.Errorf("keep file: %w", err)
	}
	return in, nil
}

// write also returns how many bytes the database knows of.
func (s *Store) write(ctx context.Context, r io.Reader, in *Info) (noted int64, err error) {
	err = s.db.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`INSERT INTO blob (id, name, media_type, created_at) VALUES (?, ?, ?, ?)`, in.ID, in.Name, in.MediaType, s.now())
		return err
	})
	if err != nil {
		return 0, err
	}
	return s.fill(ctx, r, in)
}

// fill writes the pieces of a file whose row is there.
func (s *Store) fill(ctx context.Context, r io.Reader, in *Info) (noted int64, err error) {
	buf := make([]byte, pieceBytes)
	for n := 0; ; n++ {
		size, err := io.ReadFull(r, buf)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return noted, err
		}
		if err := s.reserve(in, int64(size)); err != nil {
			return noted, err
		}
		if err := s.piece(ctx, *in, n, buf[:size], last); err != nil {
			return noted, err
		}
		if noted = in.Bytes; last {
			return noted, nil
		}
	}
}

// piece writes one piece of a file, and with the last one that it is whole.
func (s *Store) piece(ctx context.Context, in Info, n int, data []byte, last bool) error {
	return s.db.Write(ctx, func(tx *sqlite.Tx) error {
		if len(data) > 0 {
			if _, err := tx.Exec(`INSERT INTO blob_piece (blob_id, n, data) VALUES (?, ?, ?)`, in.ID, n, data); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`UPDATE blob SET bytes = ?, whole = ? WHERE id = ?`, in.Bytes, last, in.ID)
		return err
	})
}

// reserve counts n more bytes of a file, if both bounds allow them.
func (s *Store) reserve(in *Info, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case in.Bytes+n > s.limits.Blob:
		return ErrTooLarge
	case s.used+n > s.limits.Sum:
		return ErrFull
	}
	in.Bytes += n
	s.used += n
	return nil
}

// undo gives back the room of a file that is not kept. What cannot be deleted still
// takes its room, until the sweep finds a file that is not whole.
func (s *Store) undo(ctx context.Context, in Info, noted int64) {
	err := s.db.Write(context.WithoutCancel(ctx), func(tx *sqlite.Tx) error { return remove(tx, in.ID) })
	if err == nil {
		noted = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= in.Bytes - noted
}

func remove(tx *sqlite.Tx, id string) error {
	if _, err := tx.Exec(`DELETE FROM blob_piece WHERE blob_id = ?`, id); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM blob WHERE id = ?`, id)
	return err
}

// look counts what is kept, once.
func (s *Store) look(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= 0 {
		return nil
	}
	return s.db.QueryRow(ctx, `SELECT coalesce(sum(bytes), 0) FROM blob`).Scan(&s.used)
}

// Stat describes a file.
func (s *Store) Stat(ctx context.Context, id string) (Info, error) {
	in := Info{ID: id}
	err := s.db.QueryRow(ctx, `SELECT name, media_type, bytes FROM blob WHERE id = ? AND whole`, id).Scan(&in.Name, &in.MediaType, &in.Bytes)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Info{}, fmt.Errorf("look for file: %w", err)
	}
	return in, nil
}

// Open returns a reader of the file. It reads piece by piece, so a file that is
// deleted meanwhile ends with ErrNotFound.
func (s *Store) Open(ctx context.Context, id string) (io.Reader, Info, error) {
	in, err := s.Stat(ctx, id)
	if err != nil {
		return nil, Info{}, err
	}
	return &reader{ctx: ctx, s: s, in: in}, in, nil
}

// Read returns the first bytes of a file, at most limit.
func (s *Store) Read(ctx context.Context, id string, limit int64) ([]byte, error) {
	r, in, err := s.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	data := make([]byte, min(limit, in.Bytes))
	_, err = io.ReadFull(r, data)
	return data, err
}

type reader struct {
	ctx  context.Context // of this one read
	s    *Store
	in   Info
	n    int
	rest []byte
	read int64
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.read == r.in.Bytes {
			return 0, io.EOF
		}
		err := r.s.db.QueryRow(r.ctx, `SELECT data FROM blob_piece WHERE blob_id = ? AND n = ?`, r.in.ID, r.n).Scan(&r.rest)
		if errors.Is(err, sql.ErrNoRows) {
			err = ErrNotFound
		}
		if err != nil {
			return 0, fmt.Errorf("read file: %w", err)
		}
		r.n++
		r.read += int64(len(r.rest))
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Hold keeps a file from being swept. It is an error when there is no such file.
func Hold(tx *sqlite.Tx, id string) error {
	res, err := tx.Exec(`UPDATE blob SET held = held + 1 WHERE id = ? AND whole`, id)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, ErrNotFound)
	}
	return nil
}

// Release undoes one Hold.
func Release(tx *sqlite.Tx, id string) error {
	_, err := tx.Exec(`UPDATE blob SET held = max(0, held - 1) WHERE id = ?`, id)
	return err
}

// Delete removes a file that nobody holds; one that is not there is no error.
func (s *Store) Delete(ctx context.Context, id string) error {
	_, err := s.remove(ctx, `id = ?`, id)
	return err
}

// Sweep deletes the files that nobody holds and that are old enough, and those
// that were begun a day ago and are still not whole.
func (s *Store) Sweep(ctx context.Context) error {
	now := s.now()
	for more := true; more; {
		n, err := s.remove(ctx, `(created_at < ?1 OR created_at < ?2 AND NOT whole) ORDER BY created_at LIMIT ?3`,
			now.Add(-s.limits.Keep), now.Add(-24*time.Hour), sweepRows)
		if err != nil {
			return fmt.Errorf("sweep files: %w", err)
		}
		more = n == sweepRows
	}
	return nil
}

// remove deletes what nobody holds of the files that the condition names.
func (s *Store) remove(ctx context.Context, which string, args ...any) (n int, err error) {
	if err := s.look(ctx); err != nil {
		return 0, err
	}
	var bytes int64
	err = s.db.Write(ctx, func(tx *sqlite.Tx) error {
		rows, err := tx.Query(`SELECT id, bytes FROM blob WHERE held = 0 AND `+which, args...)
		if err != nil {
			return err
		}
		var ids []string
		for rows.Next() {
			var id string
			var size int64
			if err := rows.Scan(&id, &size); err != nil {
				return errors.Join(err, rows.Close())
			}
			ids, bytes = append(ids, id), bytes+size
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, id := range ids {
			if err := remove(tx, id); err != nil {
				return err
			}
		}
		n = len(ids)
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.used -= bytes
	s.mu.Unlock()
	return n, nil
}

// Copy copies a whole file from one database into another, unless it is there. Nobody
// holds it yet.
func Copy(ctx context.Context, from, to *sqlite.Store, id string) error {
	if _, err := New(to, Limits{}, nil).Stat(ctx, id); !errors.Is(err, ErrNotFound) {
		return err
	}
	source := New(from, Limits{}, nil)
	in, err := source.Stat(ctx, id)
	if err != nil {
		return err
	}
	var created int64
	if err := from.QueryRow(ctx, `SELECT created_at FROM blob WHERE id = ?`, id).Scan(&created); err != nil {
		return fmt.Errorf("copy file: %w", err)
	}
	err = to.Write(ctx, func(tx *sqlite.Tx) error {
		if err := remove(tx, id); err != nil { // what an earlier copy was cut off from
			return err
		}
		_, err := tx.Exec(`INSERT INTO blob (id, name, media_type, created_at) VALUES (?, ?, ?, ?)`, in.ID, in.Name, in.MediaType, created)
		return err
	})
	if err != nil {
		return fmt.Errorf("copy file: %w", err)
	}
	target := New(to, Limits{Blob: in.Bytes, Sum: in.Bytes}, nil)
	target.used = 0
	if _, err := target.fill(ctx, &reader{ctx: ctx, s: source, in: in}, &Info{ID: id}); err != nil {
		return fmt.Errorf("copy file: %w", err)
	}
	return nil
}

// Metrics are the gauges of the store and its bound.
func (s *Store) Metrics() []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blufio_files_bytes", Help: "Bytes of files kept for messages."}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(max(0, s.used))
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blufio_files_bytes_limit", Help: "Bound of blufio_files_bytes, telegram.files_mb."},
			func() float64 { return float64(s.limits.Sum) }),
	}
}
