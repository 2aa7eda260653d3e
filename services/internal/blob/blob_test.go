// SPDX-License-Identifier: MIT OR Apache-2.0

package blob_test

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"

	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

func open(t *testing.T, l blob.Limits) (*blob.Store, *sqlite.Store, *time.Time) {
	t.Helper()
	db := roomtest.OpenStore(t, filepath.Join(t.TempDir(), "blufio.db"), blob.Schema)
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	return blob.New(db, l, func() time.Time { return now }), db, &now
}

func put(t *testing.T, s *blob.Store, data []byte) blob.Info {
	t.Helper()
	in, err := s.Put(t.Context(), bytes.NewReader(data), blob.Info{Name: "n", MediaType: "m"})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func count(t *testing.T, db *sqlite.Store, table string) (n int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// What is put is read back, whatever its size, also by a store opened anew.
func TestRoundTrip(t *testing.T) {
	s, db, _ := open(t, blob.Limits{Blob: 1 << 20, Sum: 4 << 20, Keep: time.Hour})
	for _, size := range []int{0, 1, 128<<10 - 1, 128 << 10, 300_000} {
		data := bytes.Repeat([]byte{byte(size), 7, 9}, size/3+1)[:size]
		in := put(t, s, data)
		again := blob.New(db, s.Limits(), time.Now)
		got, err := again.Read(t.Context(), in.ID, 1<<20)
		if err != nil || !bytes.Equal(got, data) || in.Bytes != int64(size) {
			t.Errorf("%d bytes: %d came back, info %+v, %v", size, len(got), in, err)
		}
	}
	if _, err := s.Read(t.Context(), "nothing", 1); !errors.Is(err, blob.ErrNotFound) {
		t.Error(err)
	}
}

// Each bound refuses what is beyond, keeps nothing of it, and gives its room back.
func TestBounds(t *testing.T) {
	s, db, _ := open(t, blob.Limits{Blob: 1000, Sum: 1500, Keep: time.Hour})
	if _, err := s.Put(t.Context(), bytes.NewReader(make([]byte, 1001)), blob.Info{}); !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	first := put(t, s, make([]byte, 1000))
	if _, err := s.Put(t.Context(), bytes.NewReader(make([]byte, 501)), blob.Info{}); !errors.Is(err, blob.ErrFull) {
		t.Errorf("full: %v", err)
	}
	broken := io.MultiReader(bytes.NewReader(make([]byte, 400)), iotest.ErrReader(errors.New("cut")))
	if _, err := s.Put(t.Context(), broken, blob.Info{}); err == nil {
		t.Error("a broken file was kept")
	}
	put(t, s, make([]byte, 500))
	if n := count(t, db, "blob"); n != 2 {
		t.Errorf("%d files kept", n)
	}
	if err := s.Delete(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	put(t, s, make([]byte, 1000))
}

// A broken file that cannot be deleted takes its room until it is, and gives it back
// once.
func TestBrokenFileThatStays(t *testing.T) {
	s, db, now := open(t, blob.Limits{Blob: 200_000, Sum: 200_000, Keep: time.Hour})
	statement := func(sql string) {
		t.Helper()
		if err := db.Write(t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(sql); return err }); err != nil {
			t.Fatal(err)
		}
	}
	statement(`CREATE TRIGGER stuck BEFORE DELETE ON blob BEGIN SELECT RAISE(ABORT, 'stuck'); END`)
	broken := make([]byte, 250_000) // the first piece is written, the second is too much
	if _, err := s.Put(t.Context(), bytes.NewReader(broken), blob.Info{}); !errors.Is(err, blob.ErrTooLarge) {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), bytes.NewReader(make([]byte, 100_000)), blob.Info{}); !errors.Is(err, blob.ErrFull) {
		t.Errorf("beside what could not be deleted: %v", err)
	}
	statement(`DROP TRIGGER stuck`)
	*now = now.Add(25 * time.Hour)
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, s, make([]byte, 200_000))
	if _, err := s.Put(t.Context(), bytes.NewReader([]byte("x")), blob.Info{}); !errors.Is(err, blob.ErrFull) {
		t.Errorf("beyond the bound: %v", err)
	}
}

// A file that is held stays; one that nobody holds goes when it is old enough,
// and its pieces with it.
func TestSweep(t *testing.T) {
	s, db, now := open(t, blob.Limits{Blob: 1000, Sum: 2000, Keep: time.Hour})
	held, loose := put(t, s, []byte("held")), put(t, s, []byte("loose"))
	err := db.Write(t.Context(), func(tx *sqlite.Tx) error { return blob.Hold(tx, held.ID) })
	if err != nil {
		t.Fatal(err)
	}
	sweep := func(want int) {
		t.Helper()
		if err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := count(t, db, "blob"); n != want || count(t, db, "blob_piece") != want {
			t.Fatalf("%d files kept, want %d", n, want)
		}
	}
	sweep(2)
	*now = now.Add(2 * time.Hour)
	sweep(1)
	if _, err := s.Stat(t.Context(), loose.ID); !errors.Is(err, blob.ErrNotFound) {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), held.ID); err != nil || count(t, db, "blob") != 1 {
		t.Errorf("a held file was deleted: %v", err)
	}
	err = db.Write(t.Context(), func(tx *sqlite.Tx) error { return blob.Release(tx, held.ID) })
	if err != nil {
		t.Fatal(err)
	}
	sweep(0)
	err = db.Write(t.Context(), func(tx *sqlite.Tx) error { return blob.Hold(tx, held.ID) })
	if !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("hold what is gone: %v", err)
	}
}

// A file is copied whole, once, with its age; one that is cut off or gone is not found.
func TestCopy(t *testing.T) {
	limits := blob.Limits{Blob: 1 << 20, Sum: 4 << 20, Keep: time.Hour}
	s, from, _ := open(t, limits)
	_, to, _ := open(t, limits)
	data := bytes.Repeat([]byte("abc"), 100_000)
	in := put(t, s, data)
	for range 2 {
		if err := blob.Copy(t.Context(), from, to, in.ID); err != nil {
			t.Fatal(err)
		}
	}
	got, err := blob.New(to, limits, time.Now).Read(t.Context(), in.ID, 1<<20)
	if err != nil || !bytes.Equal(got, data) || count(t, to, "blob") != 1 {
		t.Errorf("%d bytes came, %v", len(got), err)
	}
	var created [2]int64
	for i, db := range []*sqlite.Store{from, to} {
		if err := db.QueryRow(t.Context(), `SELECT created_at FROM blob`).Scan(&created[i]); err != nil {
			t.Fatal(err)
		}
	}
	if created[0] != created[1] {
		t.Errorf("made at %d, copied as of %d", created[0], created[1])
	}
	if err := blob.Copy(t.Context(), from, to, "nothing"); !errors.Is(err, blob.ErrNotFound) {
		t.Error(err)
	}
}
