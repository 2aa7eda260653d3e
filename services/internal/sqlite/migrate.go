// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/blufio/blufio/services/internal/failpoint"
)

// Schema is the tables of one room. Steps[i] is SQL, of one or more
// statements, that brings them from version i to i+1. A released step never
// changes; a change to the tables is a new step. Foreign keys must not be
// DEFERRED: they would be checked at the commit and fail other rooms' writes.
type Schema struct {
	Room  string
	Steps []string
}

// Migrate brings the tables of all rooms to their latest version, in one
// transaction: it does everything or nothing. It is called once, with every
// room of the program, because a room recorded in the database but not given
// means, like a version beyond the last step, that a newer program wrote it:
// a [*NewerError]. Who changes tables signs with Options.Program, so that it can say
// which program that was. A process that dies meanwhile has done nothing.
//
// On a read-only store it only compares, and an older database is ErrReadOnly.
func (s *Store) Migrate(ctx context.Context, schemas ...Schema) error {
	err := s.migrate(ctx, schemas)
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context, schemas []Schema) error {
	if s.writer == nil {
		rows, err := s.Query(ctx, listVersions)
		if err != nil {
			return err
		}
		pending, err := pendingSteps(rows, schemas)
		if err != nil {
			return signedBy(err, s.QueryRow(ctx, readProgram))
		}
		for _, p := range pending {
			return fmt.Errorf("%w, and %s is at version %d instead of %d: start the daemon once", ErrReadOnly, p.Room, p.from, len(p.Steps))
		}
		return nil
	}
	changed := false
	err := s.Write(ctx, func(tx *Tx) error {
		rows, err := tx.Query(listVersions)
		if err != nil {
			return err
		}
		pending, err := pendingSteps(rows, schemas)
		if err != nil {
			return signedBy(err, tx.QueryRow(readProgram))
		}
		changed = len(pending) > 0
		return s.upgrade(tx, pending)
	})
	if err == nil && changed {
		failpoint.Hit("migrate.committed")
	}
	return err
}

// upgrade applies what is pending, and signs.
func (s *Store) upgrade(tx *Tx, pending []pending) error {
	if len(pending) > 0 {
		failpoint.Hit("migrate.begun")
	}
	for _, p := range pending {
		if err := p.apply(tx); err != nil {
			return err
		}
	}
	if err := s.sign(tx, len(pending) > 0); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	if len(pending) > 0 {
		failpoint.Hit("migrate.applied")
	}
	return nil
}

// sign keeps who has changed the tables. Who does it without a name takes the former one
// away, and the next program that has one signs.
func (s *Store) sign(tx *Tx, changed bool) error {
	var by string
	signed := tx.QueryRow(readProgram).Scan(&by) == nil
	var err error
	switch {
	case s.program != "" && (changed || !signed):
		_, err = tx.w.conn.ExecContext(tx.w.ctx, keepProgram, s.program)
	case s.program == "" && changed && signed:
		_, err = tx.Exec(`DELETE FROM blufio_program`)
	}
	return tx.note(err)
}

// The program that last changed the tables. Databases of before it was kept have no such table.
const (
	readProgram = `SELECT version FROM blufio_program`
	keepProgram = `CREATE TABLE IF NOT EXISTS blufio_program (
			id      INTEGER PRIMARY KEY CHECK (id = 1),
			version TEXT NOT NULL
		) STRICT;
		INSERT OR REPLACE INTO blufio_program (id, version) VALUES (1, ?)`
)

// signedBy adds to a [*NewerError] who signed, if somebody did.
func signedBy(err error, row *sql.Row) error {
	var by string
	if scanned := row.Scan(&by); scanned != nil {
		return err
	}
	if newer, ok := errors.AsType[*NewerError](err); ok {
		newer.Program = by
	}
	return err
}

const listVersions = `SELECT room, version FROM blufio_schema`

// pending is a room whose tables are behind.
type pending struct {
	Schema
	from int // version in the database
}

// pendingSteps reads the recorded versions and compares. It closes rows.
func pendingSteps(rows *sql.Rows, schemas []Schema) ([]pending, error) {
	have, err := readVersions(rows)
	if err != nil {
		return nil, err
	}
	var behind []pending
	known := make(map[string]bool)
	for _, sc := range schemas {
		if sc.Room == "" || known[sc.Room] {
			return nil, fmt.Errorf("schema of room %q: unnamed or given twice", sc.Room)
		}
		known[sc.Room] = true
		switch v := have[sc.Room]; cmp.Compare(v, len(sc.Steps)) {
		case 1:
			return nil, &NewerError{Room: sc.Room, Have: v, Know: len(sc.Steps)}
		case -1:
			behind = append(behind, pending{Schema: sc, from: v})
		}
	}
	for _, room := range slices.Sorted(maps.Keys(have)) {
		if !known[room] {
			return nil, &NewerError{Room: room, Have: have[room]}
		}
	}
	return behind, nil
}

func readVersions(rows *sql.Rows) (map[string]int, error) {
	defer rows.Close()
	have := make(map[string]int)
	for rows.Next() {
		var room string
		var version int
		if err := rows.Scan(&room, &version); err != nil {
			return nil, err
		}
		have[room] = version
	}
	return have, rows.Err()
}

func (p pending) apply(tx *Tx) error {
	for i, step := range p.Steps[p.from:] {
		// Not tx.Exec: a step runs once and is not worth keeping prepared.
		if _, err := tx.w.conn.ExecContext(tx.w.ctx, step); err != nil {
			return fmt.Errorf("%s to version %d: %w", p.Room, p.from+i+1, tx.note(err))
		}
		failpoint.Hit("migrate.stepped")
	}
	_, err := tx.Exec(`INSERT INTO blufio_schema (room, version) VALUES (?, ?)
		ON CONFLICT (room) DO UPDATE SET version = excluded.version`, p.Room, len(p.Steps))
	return err
}
