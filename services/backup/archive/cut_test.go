// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/blufio/blufio/services/internal/sqlite"
)

var banks = sqlite.Schema{Room: "banks", Steps: []string{`
	CREATE TABLE savings (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL) STRICT;
	CREATE TABLE current (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL) STRICT;
	CREATE TABLE transfer (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, memo TEXT NOT NULL) STRICT;
	WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
		INSERT INTO savings SELECT i, 1000 FROM n;
	INSERT INTO current SELECT id, 0 FROM savings;
	CREATE TABLE ballast (data BLOB NOT NULL) STRICT; -- so that a copy takes several steps
	INSERT INTO ballast SELECT randomblob(4000) FROM savings`}}

// Value moves between two tables while backups are made: each one balances when it is restored.
func TestCut(t *testing.T) { cut(t, 20) }

func TestCutLong(t *testing.T) {
	long(t)
	cut(t, 200)
}

// movesEach is how many transfers there are about each backup; a copy takes a third of their time.
const movesEach = 4000

func cut(t *testing.T, backups int) {
	s := openStore(t, filepath.Join(t.TempDir(), "live.db"), banks)
	moves := make(chan struct{}, movesEach) // that may be made: without a bound the database becomes larger than a disk
	var movers sync.WaitGroup
	defer movers.Wait()
	defer close(moves)
	for seed := range uint64(4) {
		movers.Go(func() {
			random := rand.New(rand.NewPCG(seed, 0))
			for range moves {
				if err := s.Write(context.Background(), move(1+random.IntN(500), 1+random.IntN(500), random.IntN(50))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	moved := int64(-1)
	for i := range backups {
		for range cap(moves) - len(moves) {
			moves <- struct{}{}
		}
		n := balance(t, s, i)
		if n < moved {
			t.Errorf("backup %d has %d transfers, the one before had %d", i, n, moved)
		}
		moved = n
	}
	if moved == 0 {
		t.Error("nothing was moved meanwhile: the test shows nothing")
	}
	t.Logf("%d backups during %d transfers", backups, moved)
}

func move(from, to, amount int) func(*sqlite.Tx) error {
	return func(tx *sqlite.Tx) error {
		for query, args := range map[string][]any{
			`UPDATE savings SET amount = amount - ? WHERE id = ?`:                  {amount, from},
			`UPDATE current SET amount = amount + ? WHERE id = ?`:                  {amount, to},
			`INSERT INTO transfer (amount, memo) VALUES (?, hex(randomblob(200)))`: {amount},
		} {
			if _, err := tx.Exec(query, args...); err != nil {
				return err
			}
		}
		return nil
	}
}

// balance makes a backup, restores it and looks whether it balances. It returns the number of transfers in it.
func balance(t *testing.T, s *sqlite.Store, i int) (transfers int64) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, fmt.Sprint(i))
	if err := whole(t.Context(), s, dir, path); err != nil {
		t.Fatal(err)
	}
	report, err := Verify(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(dir, "restored")
	if _, err := Extract(t.Context(), path, restored, Options{}); err != nil {
		t.Fatal(err)
	}
	r := openStore(t, filepath.Join(restored, DatabaseName), banks)
	var savings, current, moved int64
	err = r.QueryRow(t.Context(), `SELECT (SELECT sum(amount) FROM savings), (SELECT sum(amount) FROM current), (SELECT coalesce(sum(amount), 0) FROM transfer), (SELECT count(*) FROM transfer)`).
		Scan(&savings, &current, &moved, &transfers)
	if err != nil {
		t.Fatal(err)
	}
	if savings+current != 500_000 || current != moved || report.Manifest.Rows["transfer"] != transfers {
		t.Errorf("backup %d does not balance: savings %d, current %d, moved %d in %d transfers, the manifest says %d",
			i, savings, current, moved, transfers, report.Manifest.Rows["transfer"])
	}
	if err := errors.Join(r.Close(), os.RemoveAll(dir)); err != nil { // hundreds of them fill a disk
		t.Error(err)
	}
	return transfers
}
