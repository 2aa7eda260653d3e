// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hold keeps the writer busy until the returned function is called, so that a
// test decides what queues up behind it.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	begun, end := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Write(context.Background(), func(*Tx) error { close(begun); <-end; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-begun
	return func() { close(end); wg.Wait() }
}

// waitQueued returns once n writes are waiting.
func waitQueued(s *Store, n int) {
	for s.Stats().QueueDepth < n {
		runtime.Gosched()
	}
}

func TestGroupCommit(t *testing.T) {
	s := openTest(t, Options{Batch: 64})
	release := hold(t, s)
	before := s.Stats().Commits
	const n = 100
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := s.Write(t.Context(), put(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	waitQueued(s, n)
	release()
	wg.Wait()
	st := s.Stats()
	// The held one, then 64 and 36.
	if got := st.Commits - before; got != 3 {
		t.Errorf("%d writes took %d commits, want 3", n, got)
	}
	if st.BatchMax != 64 {
		t.Errorf("largest batch %d, want 64", st.BatchMax)
	}
	if got := len(values(t, s)); got != n {
		t.Errorf("%d rows, want %d", got, n)
	}
	if st.LastCommitAt.IsZero() || st.LastError != nil {
		t.Errorf("stats %+v", st)
	}
}

func TestOrderAndLazyJoins(t *testing.T) {
	s := openTest(t, Options{Linger: time.Hour})
	before := s.Stats().Commits
	var mu sync.Mutex
	var told []string
	tell := func(v string) { mu.Lock(); told = append(told, v); mu.Unlock() }
	var want []string
	for i := range 5 {
		v := fmt.Sprint("lazy", i)
		want = append(want, v)
		err := s.WriteLazy(func(tx *Tx) error {
			tx.AfterCommit(func() { tell("after " + v) })
			return put(v)(tx)
		}, func(err error) { tell(fmt.Sprint("done ", v, " ", err)) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := values(t, s); got != nil {
		t.Fatalf("lazy writes were committed early: %v", got)
	}
	if err := s.Write(t.Context(), put("eager")); err != nil {
		t.Fatal(err)
	}
	if got, want := values(t, s), append(want, "eager"); !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	if got := s.Stats().Commits - before; got != 1 {
		t.Errorf("%d commits, want 1", got)
	}
	var wantTold []string
	for _, v := range want {
		wantTold = append(wantTold, "after "+v, "done "+v+" <nil>")
	}
	if !slices.Equal(told, wantTold) {
		t.Errorf("hooks %v, want %v", told, wantTold)
	}
	if st := s.Stats(); st.LazyWrites != 5 {
		t.Errorf("lazy writes %d, want 5", st.LazyWrites)
	}
}

func TestLazyAlone(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openTest(t, Options{Path: dir + "/test.db", Linger: 20 * time.Millisecond})
		queued := time.Now()
		done := make(chan error, 2)
		for _, v := range []string{"a", "b"} {
			if err := s.WriteLazy(put(v), func(err error) { done <- err }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond) // on the test's clock: the second arrives later
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if waited := time.Since(queued); waited != 20*time.Millisecond {
			t.Errorf("committed after %v, want the linger of the oldest", waited)
		}
		if got := values(t, s); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("rows %v", got)
		}
	})
}

// TestLazyFillsBatch: enough lazy writes for a commit do not wait for more.
func TestLazyFillsBatch(t *testing.T) {
	s := openTest(t, Options{Linger: time.Hour, Batch: 4})
	done := make(chan error, 4)
	for i := range 4 {
		if err := s.WriteLazy(put(fmt.Sprint(i)), func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

var errBoom = errors.New("boom")

// failing are write functions that must fail and leave nothing behind.
var failing = []struct {
	name  string
	fn    func(*Tx) error
	check func(error) bool
}{
	{"error", func(tx *Tx) error { _ = put("bad")(tx); return errBoom }, func(err error) bool { return errors.Is(err, errBoom) }},
	{"panic", func(tx *Tx) error { _ = put("bad")(tx); panic("oh") }, func(err error) bool {
		p, ok := errors.AsType[*PanicError](err)
		return ok && p.Value == "oh" && strings.Contains(string(p.Stack), "write_test.go")
	}},
	{"unique", func(tx *Tx) error {
		_ = put("bad")(tx)
		_, err := tx.Exec(`INSERT INTO u (k) VALUES ('x'), ('x')`)
		return err
	}, IsUnique},
	{"syntax", func(tx *Tx) error {
		_ = put("bad")(tx)
		_, err := tx.Exec(`INSERT INTO`)
		return err
	}, func(err error) bool { return err != nil && !IsUnique(err) }},
	{"open rows", func(tx *Tx) error {
		_ = put("bad")(tx)
		rows, err := tx.Query(`INSERT INTO t (v) VALUES ('bad'), ('bad') RETURNING id`)
		if err != nil {
			return err
		}
		rows.Next()
		tx.QueryRow(`SELECT v FROM t`)
		return errBoom
	}, func(err error) bool { return errors.Is(err, errBoom) }},
	{"commit", func(tx *Tx) error {
		_ = put("bad")(tx)
		_, err := tx.Exec(" commit;")
		return err
	}, func(err error) bool { return err != nil && strings.Contains(err.Error(), "COMMIT") }},
}

func TestOneFails(t *testing.T) {
	for _, alone := range []bool{true, false} {
		for _, tt := range failing {
			t.Run(fmt.Sprintf("%s/alone=%v", tt.name, alone), func(t *testing.T) {
				s := openTest(t, Options{})
				before := s.Stats().Commits
				hooked := false
				fn := func(tx *Tx) error { tx.AfterCommit(func() { hooked = true }); return tt.fn(tx) }
				var want []string
				var err error
				if alone {
					err = s.Write(t.Context(), fn)
				} else {
					errs := together(t, s, put("first"), fn, put("last"))
					err = errs[1]
					if errs[0] != nil || errs[2] != nil {
						t.Errorf("the others: %v, %v", errs[0], errs[2])
					}
					want = []string{"first", "last"}
				}
				if !tt.check(err) {
					t.Errorf("got error %v", err)
				}
				if hooked {
					t.Error("AfterCommit ran for a write that was rolled back")
				}
				if got := values(t, s); !slices.Equal(got, want) {
					t.Errorf("rows %v, want %v", got, want)
				}
				if got := s.Stats().Commits - before; alone && got != 0 {
					t.Errorf("%d commits of nothing", got)
				}
				if err := s.Write(t.Context(), put("later")); err != nil {
					t.Errorf("write afterwards: %v", err)
				}
			})
		}
	}
}

// together queues all fns for one batch, in order, and returns their errors.
func together(t *testing.T, s *Store, fns ...func(*Tx) error) []error {
	t.Helper()
	release := hold(t, s)
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() { errs[i] = s.Write(context.Background(), fn) })
		waitQueued(s, i+1)
	}
	release()
	wg.Wait()
	return errs
}

// TestLostTransaction: a conflict clause that ends the whole transaction fails
// all who wrote in it, nothing of theirs remains, and those behind go on.
func TestLostTransaction(t *testing.T) {
	s := openTest(t, Options{})
	errs := together(t, s, put("first"), func(tx *Tx) error {
		_, err := tx.Exec(`INSERT OR ROLLBACK INTO u (k) VALUES ('x'), ('x')`)
		return err
	}, put("last"))
	if errs[0] == nil || !IsUnique(errs[1]) || errs[2] != nil {
		t.Errorf("errors %v", errs)
	}
	if got := values(t, s); !slices.Equal(got, []string{"last"}) {
		t.Errorf("rows %v", got)
	}
	if s.Stats().LastError == nil {
		t.Error("no error in the stats")
	}
}

// TestGoexit: a write function that ends its goroutine, as t.FailNow does,
// must not end the store.
func TestGoexit(t *testing.T) {
	s := openTest(t, Options{})
	err := s.Write(t.Context(), func(tx *Tx) error { _ = put("bad")(tx); runtime.Goexit(); return nil })
	if !errors.Is(err, errGoexit) {
		t.Errorf("got %v", err)
	}
	if err := s.Write(t.Context(), put("good")); err != nil {
		t.Error(err)
	}
	if got := values(t, s); !slices.Equal(got, []string{"good"}) {
		t.Errorf("rows %v", got)
	}
}

func TestHookPanics(t *testing.T) {
	s := openTest(t, Options{})
	err := s.Write(t.Context(), func(tx *Tx) error { tx.AfterCommit(func() { panic("hook") }); return put("a")(tx) })
	if err != nil {
		t.Error(err)
	}
	if err := s.Write(t.Context(), put("b")); err != nil {
		t.Error(err)
	}
}

func TestFullQueue(t *testing.T) {
	s := openTest(t, Options{Queue: 3})
	release := hold(t, s)
	done := make(chan error, 3)
	for i := range 3 {
		if err := s.WriteLazy(put(fmt.Sprint(i)), func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Write(t.Context(), put("x")); !errors.Is(err, ErrBusy) {
		t.Errorf("Write: %v, want ErrBusy", err)
	}
	if err := s.WriteLazy(put("x"), func(error) { t.Error("done called") }); !errors.Is(err, ErrBusy) {
		t.Errorf("WriteLazy: %v, want ErrBusy", err)
	}
	release()
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := s.Write(t.Context(), put("y")); err != nil {
		t.Errorf("after the queue emptied: %v", err)
	}
}

func TestContext(t *testing.T) {
	t.Run("ended before", func(t *testing.T) {
		s := openTest(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Write(ctx, put("x")); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ends in the queue", func(t *testing.T) {
		s := openTest(t, Options{})
		release := hold(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error)
		go func() { got <- s.Write(ctx, put("x")) }()
		waitQueued(s, 1)
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		release()
		if err := s.Write(t.Context(), put("y")); err != nil {
			t.Error(err)
		}
		if got := values(t, s); !slices.Equal(got, []string{"y"}) {
			t.Errorf("rows %v: a withdrawn write happened", got)
		}
	})
	t.Run("ends once begun", func(t *testing.T) {
		s := openTest(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		err := s.Write(ctx, func(tx *Tx) error { cancel(); return put("x")(tx) })
		if err != nil {
			t.Errorf("got %v for a write that was committed", err)
		}
		if got := values(t, s); !slices.Equal(got, []string{"x"}) {
			t.Errorf("rows %v", got)
		}
	})
}

func TestClose(t *testing.T) {
	s := openTest(t, Options{Linger: time.Hour})
	done := make(chan error, 1)
	if err := s.WriteLazy(put("lazy"), func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Write(t.Context(), put("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	if err := s.WriteLazy(put("x"), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("WriteLazy: %v", err)
	}
	if st := s.Stats(); st.WALBytes != 0 {
		t.Errorf("%d bytes left in the log", st.WALBytes)
	}
	if got := values(t, openTest(t, Options{Path: s.meter.path})); !slices.Equal(got, []string{"lazy"}) {
		t.Errorf("rows %v", got)
	}
}

// TestReopen: a connection that is no longer fit is replaced.
func TestReopen(t *testing.T) {
	s := openTest(t, Options{})
	if _, err := s.writer.conn.ExecContext(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err) // as if a rollback had failed
	}
	if err := s.Write(t.Context(), put("a")); err != nil {
		t.Error(err)
	}
	if err := s.writer.conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), put("b")); err != nil {
		t.Error(err)
	}
	if got := values(t, s); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("rows %v", got)
	}
}

// TestCommitFails: an error of the commit itself, here by a foreign key that
// is checked only then, reaches everyone in it and leaves the connection fit.
func TestCommitFails(t *testing.T) {
	s := openTest(t, Options{})
	err := s.Write(t.Context(), func(tx *Tx) error {
		_, err := tx.Exec(`CREATE TABLE d (t INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED) STRICT`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := s.writer.conn
	hooked := false
	errs := together(t, s, func(tx *Tx) error {
		tx.AfterCommit(func() { hooked = true })
		return put("a")(tx)
	}, func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO d VALUES (99)`)
		return err
	})
	if errs[0] == nil || errs[1] == nil || s.Stats().LastError == nil {
		t.Errorf("errors %v, stats %+v", errs, s.Stats())
	}
	if hooked {
		t.Error("AfterCommit ran without a commit")
	}
	if err := s.Write(t.Context(), put("b")); err != nil {
		t.Error(err)
	}
	if got := values(t, s); !slices.Equal(got, []string{"b"}) {
		t.Errorf("rows %v", got)
	}
	if s.writer.conn != conn {
		t.Error("the connection was replaced without need")
	}
}

// A damaged table fails those who write into it. Who shares the transaction in which that
// is found fails with them, and nobody after that.
func TestDamageElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	s := openTest(t, Options{Path: path})
	var page, size int64
	if err := s.QueryRow(t.Context(), `SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = 'u'`).Scan(&page, &size); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, (page-1)*size, int(size))
	s = openTest(t, Options{Path: path})
	for _, round := range []struct {
		name, before, after string
		first               error
	}{{"found", "a", "b", ErrCorrupt}, {"known", "c", "d", nil}} {
		release := hold(t, s)
		var outcomes [3]error
		var wg sync.WaitGroup
		for i, fn := range []func(*Tx) error{put(round.before), func(tx *Tx) error { _, err := tx.Exec(`INSERT INTO u VALUES ('x')`); return err }, put(round.after)} {
			wg.Go(func() { outcomes[i] = s.Write(t.Context(), fn) })
			waitQueued(s, i+1)
		}
		release()
		wg.Wait()
		if !errors.Is(outcomes[0], round.first) || !errors.Is(outcomes[1], ErrCorrupt) || outcomes[2] != nil {
			t.Errorf("%s: %v", round.name, outcomes)
		}
	}
	if got, want := values(t, s), []string{"b", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("written: %q, want %q", got, want)
	}
}
