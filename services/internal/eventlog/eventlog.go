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
// synced to disk; after a start the youngest are published again.
package eventlog

import (
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
	store *sqlite.Store
	wake  chan struct{}
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

// Record writes v in tx. It becomes visible, and is published, with the commit.
func Record[T any](l *Log, tx *sqlite.Tx, lane bus.Event[T], v T) error {
	subject, data, err := lane.Encode(v)
	if err != nil {
		return err
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

// After returns up to limit events behind position seq, oldest first.
func (l *Log) After(ctx context.Context, seq int64, limit int) ([]Row, error) {
	rows, err := l.store.Query(ctx, `SELECT seq, at, subject, payload FROM event WHERE seq > ? ORDER BY seq LIMIT ?`, seq, limit)
	if err != nil {
		return nil, fmt.Errorf("read event log: %w", err)
	}
	defer rows.Close()
	var out []Row
	for rows.Next() {
		var r Row
		var ms int64
		if err := rows.Scan(&r.Seq, &ms, &r.Subject, &r.Payload); err != nil {
			return nil, fmt.Errorf("read event log: %w", err)
		}
		r.At = time.UnixMilli(ms)
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
// up to seq. The note may come late: what the stream really holds decides.
func (l *Log) MarkRelayed(stream string, seq int64, done func(error)) error {
	return l.store.WriteLazy(func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE event_state SET stream = ?, relayed = ?`, stream, seq)
		return err
	}, done)
}

// ReportGap writes the event that positions from to to are missing for good.
func (l *Log) ReportGap(ctx context.Context, from, to int64, why string) error {
	return l.store.Write(ctx, func(tx *sqlite.Tx) error {
		if _, err := tx.Exec(`UPDATE event_state SET lost = max(lost, ?)`, to); err != nil {
			return err
		}
		return Record(l, tx, bus.StreamGap, bus.GapFact{Time: time.Now(), From: from, To: to, Why: why})
	})
}

// Prune deletes relayed events older than keep, at most limit of them, and
// beyond max rows also events that were never relayed: the log is bounded even
// when the stream stays away. It returns how many were deleted, and how many of
// those had not been relayed.
func (l *Log) Prune(ctx context.Context, before time.Time, most int64, limit int) (deleted, unrelayed int64, err error) {
	err = l.store.Write(ctx, func(tx *sqlite.Tx) error {
		res, err := tx.Exec(`DELETE FROM event WHERE seq IN (SELECT seq FROM event
			WHERE at < ? AND seq <= (SELECT relayed FROM event_state) ORDER BY seq LIMIT ?)`, before.UnixMilli(), limit)
		if err != nil {
			return err
		}
		if deleted, err = res.RowsAffected(); err != nil {
			return err
		}
		const tooOld = `seq <= (SELECT max(seq) FROM event) - ?`
		if err := tx.QueryRow(`SELECT count(*) FROM event WHERE seq > (SELECT relayed FROM event_state) AND `+tooOld, most).Scan(&unrelayed); err != nil {
			return err
		}
		res, err = tx.Exec(`DELETE FROM event WHERE `+tooOld, most)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		deleted += n
		return err
	})
	return deleted, unrelayed, err
}
