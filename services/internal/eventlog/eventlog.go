// SPDX-License-Identifier: MIT OR Apache-2.0

// Package eventlog keeps durable events until they are in the event stream.
//
// A room writes an event in the transaction of its fact, so that there is never
// one without the other:
//
//	store.Write(ctx, func(tx *sqlite.Tx) error {
//		… the fact …
//		return eventlog.Record(log, tx, bus.TurnCompleted, bus.TurnFact{…})
//	})
//
// The relay room reads the log in order, publishes each row and marks it. Rows
// stay for a while after that, because JetStream acknowledges before it has
// synced to disk: what it turns out to lack is stored again.
//
// Positions have no holes: a write that is rolled back gives its positions back.
package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Schema are the log's tables. event.seq is the event's position: it grows by
// one and is never used twice (AUTOINCREMENT).
var Schema = sqlite.Schema{Room: "eventlog", Steps: []string{`
CREATE TABLE event (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	at      INTEGER NOT NULL, -- Unix milliseconds
	subject TEXT NOT NULL,
	payload BLOB NOT NULL
);
CREATE TABLE event_state (
	id      INTEGER PRIMARY KEY CHECK (id = 1),
	epoch   TEXT NOT NULL,              -- changes when positions start anew
	stream  TEXT NOT NULL DEFAULT '',   -- epoch of the stream that acknowledged them
	relayed INTEGER NOT NULL DEFAULT 0, -- all up to here were acknowledged by the stream
	lost    INTEGER NOT NULL DEFAULT 0  -- gaps up to here have been reported
);
INSERT INTO event_state (id, epoch) VALUES (1, lower(hex(randomblob(8))));
`}}

// Log writes and reads the event table.
type Log struct {
	store  *sqlite.Store
	redact func([]byte) []byte
	wake   chan struct{}
}

// Row is one event.
type Row struct {
	Seq     int64
	At      time.Time
	Subject string
	Payload []byte
}

// State says how far the relay has come.
type State struct {
	Epoch   string
	Stream  string // epoch of the stream that acknowledged; "" before the first
	Relayed int64  // highest position acknowledged by the stream
	Lost    int64  // gaps up to this position have been reported
	First   int64  // oldest position still in the log; 0 when it is empty
	Last    int64  // newest position ever given out
}

// New returns the log kept in store.
func New(store *sqlite.Store) *Log {
	return &Log{store: store, wake: make(chan struct{}, 1)}
}

// Redacting makes every payload go through redact, which takes out what nobody may
// read. It is for the start, before anything is recorded.
func (l *Log) Redacting(redact func([]byte) []byte) { l.redact = redact }

// Record writes v in tx. It becomes visible, and is published, with the commit.
func Record[T any](l *Log, tx *sqlite.Tx, lane bus.Event[T], v T) error {
	subject, data, err := lane.Encode(v)
	if err != nil {
		return err
	}
	if l.redact != nil {
		data = l.redact(data)
	}
	if _, err := tx.Exec(`INSERT INTO event (at, subject, payload) VALUES (?, ?, ?)`, time.Now().UnixMilli(), subject, data); err != nil {
		return fmt.Errorf("record %s: %w", lane.Spec().Name, err)
	}
	tx.AfterCommit(l.signal)
	return nil
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // the relay is about to look anyway
	}
}

// Wake delivers after a commit that wrote events. It is for one reader.
func (l *Log) Wake() <-chan struct{} { return l.wake }

// PageBytes is how much of payload [Log.After] reads at once, but for the event that goes past it.
const PageBytes = 1 << 20

// After returns up to limit events behind position seq, oldest first. It ends earlier with the
// one that makes their payloads [PageBytes]: events may carry what was said, of any length.
func (l *Log) After(ctx context.Context, seq int64, limit int) ([]Row, error) {
	rows, err := l.store.Query(ctx, `SELECT seq, at, subject, payload FROM event WHERE seq > ? ORDER BY seq LIMIT ?`, seq, limit)
	if err != nil {
		return nil, fmt.Errorf("read event log: %w", err)
	}
	defer rows.Close()
	var out []Row
	for size := 0; size < PageBytes && rows.Next(); {
		var r Row
		var ms int64
		if err := rows.Scan(&r.Seq, &ms, &r.Subject, &r.Payload); err != nil {
			return nil, fmt.Errorf("read event log: %w", err)
		}
		r.At = time.UnixMilli(ms)
		size += len(r.Payload)
		out = append(out, r)
	}
	return out, rows.Err()
}

// State reads how far the relay has come and what the log still holds.
func (l *Log) State(ctx context.Context) (State, error) {
	var s State
	err := l.store.QueryRow(ctx, `SELECT epoch, stream, relayed, lost,
		coalesce((SELECT min(seq) FROM event), 0),
		coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0)
		FROM event_state`).Scan(&s.Epoch, &s.Stream, &s.Relayed, &s.Lost, &s.First, &s.Last)
	if err != nil {
		return s, fmt.Errorf("read event log state: %w", err)
	}
	return s, nil
}

// MarkRelayed notes that the stream of that epoch has acknowledged everything
// up to seq. The note may come late: what the stream really holds decides. done
// hears the outcome as WriteLazy tells it.
func (l *Log) MarkRelayed(stream string, seq int64, done func(error)) error {
	return l.store.WriteLazy(func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE event_state SET stream = ?, relayed = ?`, stream, seq)
		return err
	}, done)
}

// ReportGap writes the event that positions from to to are missing for good.
// Where the log itself no longer holds them, State.Lost says so too.
func (l *Log) ReportGap(ctx context.Context, from, to int64, why string) error {
	return l.store.Write(ctx, func(tx *sqlite.Tx) error {
		if _, err := tx.Exec(`UPDATE event_state SET lost = max(lost, ?1) WHERE NOT EXISTS (SELECT 1 FROM event WHERE seq <= ?1)`, to); err != nil {
			return err
		}
		return Record(l, tx, bus.StreamGap, bus.GapFact{Time: time.Now(), From: from, To: to, Why: why})
	})
}

// Gave reports whether the log gave position seq to this very event. When it
// did not, the database is older than the stream: a backup was restored. An
// event that is pruned is taken on trust.
func (l *Log) Gave(ctx context.Context, seq int64, subject string, payload []byte) (bool, error) {
	st, err := l.State(ctx)
	if err != nil || seq > st.Last {
		return false, err
	}
	rows, err := l.After(ctx, seq-1, 1)
	if err != nil || len(rows) == 0 || rows[0].Seq != seq {
		return err == nil, err
	}
	return rows[0].Subject == subject && bytes.Equal(rows[0].Payload, payload), nil
}

// Renew begins a new epoch: from here on the positions mean other events than
// those that the stream knows under the old one.
func (l *Log) Renew(ctx context.Context) error {
	return l.store.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE event_state SET epoch = lower(hex(randomblob(8)))`)
		return err
	})
}

// Restart begins a new epoch in a restored database. Its positions go on behind the
// backup's last, under a name that nobody has heard. heard says that the events in the
// log were published before, by the daemon that went on after the backup: then they are
// kept for replay and not published again.
func Restart(ctx context.Context, store *sqlite.Store, heard bool) error {
	err := store.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE event_state SET epoch = lower(hex(randomblob(8))), stream = '',
			relayed = CASE WHEN ?1 THEN given.last ELSE min(relayed, given.last) END, lost = max(lost, given.first - 1)
			FROM (SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0) AS last,
				coalesce((SELECT min(seq) FROM event), (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'event'), 1) AS first) AS given`, heard)
		return err
	})
	if err != nil {
		return fmt.Errorf("begin new epoch: %w", err)
	}
	return nil
}

// Pruned is what one Prune did.
type Pruned struct {
	Deleted   int64
	Unrelayed int64 // of those, never acknowledged by the stream
	More      bool  // limit was reached: there is more to delete
}

// Prune deletes the oldest events, at most limit of them: those up to position
// upTo that the stream has acknowledged and, beyond most rows, any up to heard. So
// the log is bounded even when the stream stays away, and nothing goes that nobody
// has heard.
func (l *Log) Prune(ctx context.Context, upTo, heard, most, limit int64) (p Pruned, err error) {
	err = l.store.Write(ctx, func(tx *sqlite.Tx) error {
		var relayed, first, last int64
		err := tx.QueryRow(`SELECT relayed, coalesce((SELECT min(seq) FROM event), 0), coalesce((SELECT max(seq) FROM event), 0)
			FROM event_state`).Scan(&relayed, &first, &last)
		if err != nil {
			return err
		}
		due := max(min(upTo, relayed), min(heard, last-most))
		end := min(due, first+limit-1)
		if first == 0 || end < first {
			return nil
		}
		if _, err := tx.Exec(`DELETE FROM event WHERE seq <= ?`, end); err != nil {
			return err
		}
		p = Pruned{Deleted: end - first + 1, Unrelayed: max(0, end-max(relayed, first-1)), More: end < due}
		return nil
	})
	return p, err
}
