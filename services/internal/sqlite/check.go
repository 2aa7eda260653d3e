// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	lib "modernc.org/sqlite/lib"
)

const (
	checkCacheKiB = 2048
	damageLines   = 100
)

// Checked is what [Check] found.
type Checked struct {
	Damage []string         // lines of integrity_check and foreign_key_check, at most 100; none: it is sound
	Schema map[string]int   // version of each room's tables
	Rows   map[string]int64 // of each table; SQLite's own and virtual ones are left out
	Bytes  int64            // size of the database
}

// Err is nil for a sound database and wraps [ErrCorrupt] for a damaged one.
func (c Checked) Err() error {
	switch n := len(c.Damage); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%w: %s", ErrCorrupt, c.Damage[0])
	default:
		return fmt.Errorf("%w: %s, and %d more", ErrCorrupt, c.Damage[0], n-1)
	}
}

// Check reads the whole database at path and changes nothing, nor leaves a file
// beside it: nobody may have it open. What it finds is in Damage; an error means
// that it could not look, or that the file is no database of blufio at all.
func Check(ctx context.Context, path string) (Checked, error) {
	return check(ctx, path, (*Checked).integrity, (*Checked).foreignKeys, (*Checked).versions, (*Checked).counts)
}

// Survey is the part of [Check] that reads what there is, and takes a tenth of its time; Damage is only what it cannot read.
func Survey(ctx context.Context, path string) (Checked, error) {
	return check(ctx, path, (*Checked).versions, (*Checked).counts)
}

// Sound is the other part: it looks for damage alone. Its error wraps [ErrCorrupt] for a database that is not sound.
func Sound(ctx context.Context, path string) error {
	c, err := check(ctx, path, (*Checked).integrity, (*Checked).foreignKeys)
	if err != nil {
		return err
	}
	return c.Err()
}

type look func(*Checked, context.Context, *sql.DB) error

func check(ctx context.Context, path string, looks ...look) (Checked, error) {
	c := Checked{Schema: map[string]int{}, Rows: map[string]int64{}}
	err := c.each(ctx, path, looks)
	if errors.Is(err, ErrCorrupt) { // too bad for integrity_check itself
		c.note(strings.TrimPrefix(err.Error(), ErrCorrupt.Error()+": "))
		err = nil
	}
	if err != nil {
		return Checked{}, fmt.Errorf("check database %s: %w", path, err)
	}
	return c, nil
}

func (c *Checked) each(ctx context.Context, path string, looks []look) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := checkHeader(path); err != nil {
		return err
	}
	if fileSize(path+"-wal") > 0 {
		return errors.New("it has a write-ahead log, so it is not a whole copy")
	}
	c.Bytes = fileSize(path)
	db, err := openDB(dsn(path, "ro", cacheSize(Options{CacheKiB: checkCacheKiB}), "query_only(1)")+"&immutable=1", 1)
	if err != nil {
		return err
	}
	for _, look := range looks {
		if err = classify(look(c, ctx, db)); err != nil {
			break
		}
	}
	err = errors.Join(err, db.Close())
	trim() // what the cache took: a backup goes on to other work
	return err
}

func (c *Checked) note(line string) {
	if len(c.Damage) < damageLines {
		c.Damage = append(c.Damage, line)
	}
}

func (c *Checked) integrity(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, fmt.Sprintf("PRAGMA integrity_check(%d)", damageLines), func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		for line := range strings.Lines(text) {
			// A tree's findings follow a line that names the schema.
			if line = strings.TrimSpace(line); line != "ok" && line != "*** in database main ***" {
				c.note(line)
			}
		}
		return err
	})
}

func (c *Checked) foreignKeys(ctx context.Context, db *sql.DB) error {
	const query = `SELECT "table", coalesce(rowid, 0), parent FROM pragma_foreign_key_check LIMIT 100`
	return each(ctx, db, query, func(rows *sql.Rows) error {
		var table, parent string
		var row int64
		err := rows.Scan(&table, &row, &parent)
		c.note(fmt.Sprintf("row %d of %s refers to no row of %s", row, table, parent))
		return err
	})
}

func (c *Checked) versions(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, listVersions)
	if err != nil {
		if code(err) == lib.SQLITE_ERROR { // no such table
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return err
	}
	c.Schema, err = readVersions(rows)
	return err
}

func (c *Checked) counts(ctx context.Context, db *sql.DB) error {
	var names []string
	const tables = `SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`
	err := each(ctx, db, tables, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		var n int64
		quoted := `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+quoted).Scan(&n); err != nil {
			return err
		}
		c.Rows[name] = n
	}
	return nil
}

func each(ctx context.Context, db *sql.DB, query string, row func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
