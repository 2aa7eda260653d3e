// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// databaseOf makes a daemon's database with these messages and their states.
func databaseOf(t *testing.T, states map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blufio.db")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE message (id TEXT PRIMARY KEY, state TEXT)`); err != nil {
		t.Fatal(err)
	}
	for id, state := range states {
		if _, err := db.Exec(`INSERT INTO message VALUES (?, ?)`, id, state); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// What is not in the database is lost, and so is the second of two messages that were
// acknowledged as one. What has no end is told apart from that, and what nobody was
// promised does not count.
func TestBookCompare(t *testing.T) {
	b, err := newBook(filepath.Join(t.TempDir(), "accepted"))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c", "d", "e", "gone", "a"} {
		b.accept(id)
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	path := databaseOf(t, map[string]string{"a": "answered", "b": "answered", "c": "failed", "d": "dead", "e": "running", "other": "answered"})
	got, err := b.compare(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if got.lost != 2 || !slices.Equal(got.examples, []string{"a, acknowledged a second time,", "gone"}) || got.open() != 1 || got.states["answered"] != 2 || got.states["failed"] != 1 || got.states["dead"] != 1 {
		t.Errorf("%+v", got)
	}
	if n := b.accepted.Load(); n != 7 || got.found() != n {
		t.Errorf("%d accepted, want 7; it is known of %d what became of them", n, got.found())
	}
}

// A state that nobody knows is no end.
func TestBookOfUnknownState(t *testing.T) {
	b, err := newBook(filepath.Join(t.TempDir(), "accepted"))
	if err != nil {
		t.Fatal(err)
	}
	b.accept("a")
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	if k, err := b.compare(t.Context(), databaseOf(t, map[string]string{"a": "answred"})); err == nil || !strings.Contains(err.Error(), "answred") || k.found() != 0 {
		t.Errorf("%+v, %v", k, err)
	}
}

func TestBookWithoutDatabase(t *testing.T) {
	b, err := newBook(filepath.Join(t.TempDir(), "accepted"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.compare(t.Context(), filepath.Join(t.TempDir(), "none.db")); err == nil {
		t.Error("no database, and nothing is wrong")
	}
}
