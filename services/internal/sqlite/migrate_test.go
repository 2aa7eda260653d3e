// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func tables(t *testing.T, s *Store) (names []string) {
	t.Helper()
	rows, err := s.Query(t.Context(), `SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var n string
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	return names
}

func TestMigrate(t *testing.T) {
	a1, a2 := `CREATE TABLE a (x)`, `ALTER TABLE a ADD COLUMN y; CREATE INDEX a_y ON a (y)`
	b1, bad := `CREATE TABLE b (x)`, `CREATE TABLE half (x); CREATE TABLE b (x)`
	tests := []struct {
		name   string
		then   []Schema // after {a, a1} and {b, b1}
		err    *NewerError
		failed bool
		tables []string
	}{
		{"nothing new", []Schema{{"a", []string{a1}}, {"b", []string{b1}}}, nil, false, []string{"a", "b", "blufio_schema"}},
		{"one room ahead", []Schema{{"a", []string{a1, a2}}, {"b", []string{b1}}}, nil, false, []string{"a", "b", "blufio_schema"}},
		{"new room", []Schema{{"c", []string{`CREATE TABLE c (x)`}}, {"a", []string{a1}}, {"b", []string{b1}}}, nil, false, []string{"a", "b", "blufio_schema", "c"}},
		{"newer room", []Schema{{"a", []string{a1}}, {"b", nil}}, &NewerError{Room: "b", Have: 1}, true, []string{"a", "b", "blufio_schema"}},
		{"unknown room", []Schema{{"a", []string{a1, a2}}}, &NewerError{Room: "b", Have: 1}, true, []string{"a", "b", "blufio_schema"}},
		{"second step fails", []Schema{{"c", []string{`CREATE TABLE c (x)`}}, {"a", []string{a1}}, {"b", []string{b1, bad}}}, nil, true, []string{"a", "b", "blufio_schema"}},
		{"room twice", []Schema{{"a", []string{a1}}, {"a", []string{a1}}, {"b", []string{b1}}}, nil, true, []string{"a", "b", "blufio_schema"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "test.db"), Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Migrate(t.Context(), Schema{"a", []string{a1}}, Schema{"b", []string{b1}}); err != nil {
				t.Fatal(err)
			}
			err = s.Migrate(t.Context(), tt.then...)
			if (err != nil) != tt.failed {
				t.Errorf("got %v", err)
			}
			newer, _ := errors.AsType[*NewerError](err)
			if (newer == nil) != (tt.err == nil) || newer != nil && *newer != *tt.err {
				t.Errorf("got %v, want %v", err, tt.err)
			}
			if got := tables(t, s); !slices.Equal(got, tt.tables) {
				t.Errorf("tables %v, want %v", got, tt.tables)
			}
			var version int
			want := 1
			if err == nil && len(tt.then[0].Steps) == 2 {
				want = 2
			}
			err = s.QueryRow(t.Context(), `SELECT version FROM blufio_schema WHERE room = 'a'`).Scan(&version)
			if err != nil || version != want {
				t.Errorf("room a is at version %d, want %d, %v", version, want, err)
			}
		})
	}
}

// What is refused names the program that made it what it is.
func TestMigrateNamesTheNewerProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	one, two := Schema{"a", []string{`CREATE TABLE a (x)`}}, Schema{"a", []string{`CREATE TABLE a (x)`, `ALTER TABLE a ADD COLUMN y`}}
	for _, c := range []struct {
		program  string
		schema   Schema
		readOnly bool
		want     string // who is named; "-": it is not refused
	}{
		{"", one, false, "-"}, // before anybody signed
		{"v1", one, false, "-"},
		{"v3", two, false, "-"},
		{"v4", two, false, "-"}, // which has changed nothing
		{"v1", one, false, "v3"},
		{"v1", one, true, "v3"},
	} {
		if err := migrated(t, Options{Path: path, Program: c.program, ReadOnly: c.readOnly}, c.schema); !names(err, c.want) {
			t.Errorf("%s with %d steps: %v, want %s", c.program, len(c.schema.Steps), err, c.want)
		}
	}
	three := Schema{"a", append(two.Steps, `CREATE TABLE more (x)`)}
	for _, c := range []struct{ program, want string }{{"", ""}, {"v5", "v5"}} { // a nameless change, then the next with a name
		if err := migrated(t, Options{Path: path, Program: c.program}, three); err != nil {
			t.Fatal(err)
		}
		if err := migrated(t, Options{Path: path, Program: "v1"}, one); !names(err, c.want) {
			t.Errorf("after %q: %v, want %q", c.program, err, c.want)
		}
	}
}

func migrated(t *testing.T, o Options, schema Schema) error {
	t.Helper()
	o.Logger = quiet
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Migrate(t.Context(), schema)
}

func names(err error, program string) bool {
	newer, ok := errors.AsType[*NewerError](err)
	if program == "-" || !ok {
		return err == nil && program == "-"
	}
	return newer.Program == program && strings.Contains(err.Error(), program) && strings.Contains(newer.Hint(), program)
}
