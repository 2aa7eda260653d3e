// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// Schema are the room's tables.
var Schema = sqlite.Schema{Room: Name, Steps: []string{`
CREATE TABLE vault_key (
	id         INTEGER PRIMARY KEY CHECK (id = 1),
	source     TEXT NOT NULL,    -- credential, passphrase or file
	kdf        TEXT NOT NULL,    -- hkdf-sha256 or argon2id
	passes     INTEGER NOT NULL, -- of argon2id, as are the next two; else 0
	memory_kib INTEGER NOT NULL,
	lanes      INTEGER NOT NULL,
	salt       BLOB NOT NULL,
	nonce      BLOB NOT NULL,
	wrapped    BLOB NOT NULL,    -- the data key
	created    INTEGER NOT NULL, -- Unix milliseconds
	rotated    INTEGER NOT NULL
);
CREATE TABLE vault_secrets (
	name       TEXT PRIMARY KEY,
	nonce      BLOB NOT NULL,
	ciphertext BLOB NOT NULL,
	set_at     INTEGER NOT NULL -- Unix milliseconds
) WITHOUT ROWID;
`}}

// keyRow is the row of vault_key.
type keyRow struct {
	source           string
	kdf              kdf
	nonce, wrapped   []byte
	created, rotated time.Time
}

// sealedSecret is a row of vault_secrets.
type sealedSecret struct {
	name              string
	nonce, ciphertext []byte
	setAt             time.Time
}

// readKey reads the key's row, nil when there is none.
func readKey(ctx context.Context, store *sqlite.Store) (*keyRow, error) {
	var r keyRow
	var created, rotated int64
	err := store.QueryRow(ctx, `SELECT source, kdf, passes, memory_kib, lanes, salt, nonce, wrapped, created, rotated FROM vault_key`).
		Scan(&r.source, &r.kdf.name, &r.kdf.passes, &r.kdf.memoryKiB, &r.kdf.lanes, &r.kdf.salt, &r.nonce, &r.wrapped, &created, &rotated)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the vault's key: %w", err)
	}
	r.created, r.rotated = time.UnixMilli(created), time.UnixMilli(rotated)
	return &r, nil
}

// readSecrets reads every secret as it is stored. The bound is that of the room: rows
// beyond it were not written by it.
func readSecrets(ctx context.Context, store *sqlite.Store) (all []sealedSecret, err error) {
	rows, err := store.Query(ctx, `SELECT name, nonce, ciphertext, set_at FROM vault_secrets ORDER BY name LIMIT ?`, maxSecrets)
	if err != nil {
		return nil, fmt.Errorf("read the vault: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s sealedSecret
		var at int64
		if err := rows.Scan(&s.name, &s.nonce, &s.ciphertext, &at); err != nil {
			return nil, fmt.Errorf("read the vault: %w", err)
		}
		s.setAt = time.UnixMilli(at)
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the vault: %w", err)
	}
	return all, nil
}

// Names lists the secrets in a database, which may be open read-only. A database from
// before there was a vault has none.
func Names(ctx context.Context, store *sqlite.Store) (names []string, err error) {
	var there int
	if err := store.QueryRow(ctx, `SELECT count(*) FROM sqlite_schema WHERE name = 'vault_secrets'`).Scan(&there); err != nil {
		return nil, fmt.Errorf("look for the vault: %w", err)
	}
	if there == 0 {
		return nil, nil
	}
	all, err := readSecrets(ctx, store)
	for _, s := range all {
		names = append(names, s.name)
	}
	return names, err
}

// Kept says what the vault of a database is locked with, and how many secrets are in it. The
// database may be open read-only, and from before there was a vault.
func Kept(ctx context.Context, store *sqlite.Store) (source string, secrets int, err error) {
	names, err := Names(ctx, store)
	if err != nil || len(names) == 0 {
		return "", 0, err
	}
	key, err := readKey(ctx, store)
	if err != nil || key == nil {
		return "", len(names), err
	}
	return key.source, len(names), nil
}

func (r *keyRow) write(tx *sqlite.Tx) error {
	_, err := tx.Exec(`INSERT OR REPLACE INTO vault_key (id, source, kdf, passes, memory_kib, lanes, salt, nonce, wrapped, created, rotated)
		VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.source, r.kdf.name, r.kdf.passes, r.kdf.memoryKiB, r.kdf.lanes, r.kdf.salt, r.nonce, r.wrapped, r.created, r.rotated)
	return err
}

func (s sealedSecret) write(tx *sqlite.Tx) error {
	_, err := tx.Exec(`INSERT INTO vault_secrets (name, nonce, ciphertext, set_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET nonce = excluded.nonce, ciphertext = excluded.ciphertext, set_at = excluded.set_at`,
		s.name, s.nonce, s.ciphertext, s.setAt)
	return err
}
