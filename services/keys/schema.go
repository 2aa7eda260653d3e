// SPDX-License-Identifier: MIT OR Apache-2.0

package keys

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Schema holds the keys: public parts only. Times are Unix milliseconds.
var Schema = sqlite.Schema{Room: "keys", Steps: []string{`
CREATE TABLE bus_keys (
	id         INTEGER PRIMARY KEY,
	public     TEXT NOT NULL UNIQUE,
	name       TEXT NOT NULL,
	role       TEXT NOT NULL,
	allow_sub  TEXT NOT NULL, -- JSON lists of subjects
	allow_pub  TEXT NOT NULL,
	inbox      TEXT NOT NULL UNIQUE,
	state      TEXT NOT NULL DEFAULT 'living', -- living, expired or revoked
	issued_at  INTEGER NOT NULL,
	expires_at INTEGER, -- NULL: not by itself
	ended_at   INTEGER, -- when it expired or was revoked
	seen_at    INTEGER  -- when it last connected
);
CREATE UNIQUE INDEX bus_keys_living ON bus_keys (name) WHERE state = 'living';
`}}

// record is one row.
type record struct {
	embedded.Key
	state  string
	issued time.Time
	ended  *time.Time
	seen   *time.Time

	ending time.Time // when it was revoked, while that is not stored yet; out of the bus since
}

const columns = `public, name, role, allow_sub, allow_pub, inbox, state, issued_at, expires_at, ended_at, seen_at`

// Load reads the keys that live, for the bus to let them in from its first moment on.
func Load(ctx context.Context, store *sqlite.Store, now time.Time) ([]embedded.Key, error) {
	records, err := read(ctx, store, `state = 'living'`)
	if err != nil {
		return nil, err
	}
	var living []embedded.Key
	for _, r := range records {
		if !r.over(now) {
			living = append(living, r.Key)
		}
	}
	return living, nil
}

func read(ctx context.Context, store *sqlite.Store, where string) ([]record, error) {
	rows, err := store.Query(ctx, `SELECT `+columns+` FROM bus_keys WHERE `+where+` ORDER BY name, id`)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	defer rows.Close()
	var all []record
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read keys: %w", err)
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return all, nil
}

func scan(rows *sql.Rows) (record, error) {
	var r record
	var sub, pub string
	var issued int64
	var expires, ended, seen sql.NullInt64
	if err := rows.Scan(&r.Public, &r.Name, &r.Role, &sub, &pub, &r.Inbox, &r.state, &issued, &expires, &ended, &seen); err != nil {
		return r, err
	}
	for text, list := range map[string]*[]string{sub: &r.AllowSub, pub: &r.AllowPub} {
		if err := json.Unmarshal([]byte(text), list); err != nil {
			return r, fmt.Errorf("key %s: %w", r.Name, err)
		}
	}
	r.issued, r.ended, r.seen = time.UnixMilli(issued), moment(ended), moment(seen)
	if end := moment(expires); end != nil {
		r.Expires = *end
	}
	return r, nil
}

func moment(ms sql.NullInt64) *time.Time {
	if !ms.Valid {
		return nil
	}
	t := time.UnixMilli(ms.Int64)
	return &t
}

// insert writes a new key.
func (r *record) insert(tx *sqlite.Tx) error {
	sub, err := json.Marshal(append([]string{}, r.AllowSub...))
	if err != nil {
		return err
	}
	pub, err := json.Marshal(append([]string{}, r.AllowPub...))
	if err != nil {
		return err
	}
	var expires any
	if !r.Expires.IsZero() {
		expires = r.Expires.UnixMilli()
	}
	_, err = tx.Exec(`INSERT INTO bus_keys (public, name, role, allow_sub, allow_pub, inbox, issued_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		r.Public, r.Name, r.Role, string(sub), string(pub), r.Inbox, r.issued.UnixMilli(), expires)
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}

// over reports whether the key has reached its end.
func (r *record) over(now time.Time) bool { return !r.Expires.IsZero() && !now.Before(r.Expires) }

// fact is what an event tells of the key.
func (r *record) fact(now time.Time) bus.KeyFact {
	f := bus.KeyFact{Time: now.UTC(), Name: r.Name, Role: r.Role, PublicKey: r.Public}
	if !r.Expires.IsZero() {
		end := r.Expires.UTC()
		f.Expires = &end
	}
	return f
}

// shown is the key as the bus tells of it.
func (r *record) shown() bus.Key {
	rights := r.Rights()
	k := bus.Key{Name: r.Name, Role: r.Role, State: r.state, PublicKey: r.Public, Inbox: r.InboxPrefix(),
		Publish: append([]string{}, rights.Publish...), Subscribe: rights.Subscribe, Issued: r.issued.UTC(), LastSeen: utc(r.seen)}
	if !r.Expires.IsZero() {
		end := r.Expires.UTC()
		k.Expires = &end
	}
	switch {
	case r.state == bus.KeyRevoked:
		k.Revoked = utc(r.ended)
	case !r.ending.IsZero():
		k.State, k.Revoked = bus.KeyRevoked, utc(&r.ending)
	}
	return k
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
