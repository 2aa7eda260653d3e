// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Carried says what a restored database was told of the one that it replaces.
type Carried struct {
	Answered   int `json:"answered"`   // open in the backup, answered or given up since: not again
	Delivered  int `json:"delivered"`  // replies on their way in the backup, delivered or given up since: not again
	Remembered int `json:"remembered"` // ids of sources whose messages came since: known if they come again
	Taken      int `json:"taken"`      // messages and replies accepted since and still owed: carried over
	Open       int `json:"open"`       // messages and replies that are taken up at the next start
	Held       int `json:"held"`       // those that were made dead letters instead
}

// Words of letters that a restore has made dead.
const (
	heldBack  = "held back by the restore"
	withdrawn = "deleted after the backup was made"
)

// CarryOver makes a restored database go on where the replaced one stopped, so that
// nobody is answered twice and nobody is forgotten who was promised an answer:
//
//   - What was open in the backup and is not in the replaced database becomes
//     what it became there, with the reply if that is still owed.
//   - What was accepted since and is still owed comes along, with its files.
//   - What was accepted since and is done does not come back. The ids of its sources
//     do: should it be handed over again, it was accepted before.
//
// Both databases have this version's tables. Messages are the same when their ids are.
// replaced may be nil. What a daemon that was backed up had just begun was no crash.
func CarryOver(ctx context.Context, replaced, restored *sqlite.Store) (Carried, error) {
	c := &carrier{ctx: ctx, old: replaced, db: restored}
	err := restored.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE message SET state = 'queued', forgiven = forgiven + 1 WHERE state IN ('queued', 'running') AND state = 'running'`)
		return err
	})
	if err == nil && replaced != nil {
		err = c.carry()
	}
	return c.done, errors.Join(err, c.count())
}

// HoldBack makes dead letters of all that a restored database would take up.
func HoldBack(ctx context.Context, restored *sqlite.Store, now int64) (c Carried, err error) {
	err = restored.Write(ctx, func(tx *sqlite.Tx) error {
		messages, err := tx.Exec(`UPDATE message SET state = 'dead', error = ?, finished_at = ? WHERE state IN ('queued', 'running')`, heldBack, now)
		if err != nil {
			return err
		}
		replies, err := tx.Exec(`UPDATE outbox SET state = 'dead', error = ? WHERE state = 'pending'`, heldBack)
		if err != nil {
			return err
		}
		for _, r := range []sql.Result{messages, replies} {
			n, err := r.RowsAffected()
			if err != nil {
				return err
			}
			c.Held += int(n)
		}
		return nil
	})
	return c, err
}

// carrier is one CarryOver.
type carrier struct {
	ctx  context.Context // of this one call
	old  *sqlite.Store
	db   *sqlite.Store
	kin  bool // the replaced database has grown from what the backup holds
	done Carried
}

func (c *carrier) count() error {
	err := c.db.QueryRow(c.ctx, `SELECT (SELECT count(*) FROM message WHERE state IN ('queued', 'running')) +
		(SELECT count(*) FROM outbox WHERE state = 'pending')`).Scan(&c.done.Open)
	if err != nil {
		return fmt.Errorf("count what is open: %w", err)
	}
	return nil
}

func (c *carrier) carry() error {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"compare the databases", c.compare},
		{"look for replies that were delivered", c.replies},
		{"look for messages that were answered", c.messages},
		{"carry over what is owed", c.owed},
		{"remember what was accepted", c.accepted},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// compare looks whether some of the backup's newest messages are in the replaced
// database.
func (c *carrier) compare() error {
	ids, err := column[string](c.ctx, c.db, `SELECT id FROM message ORDER BY seq DESC LIMIT 20`)
	for _, id := range ids {
		var there bool
		if err := c.old.QueryRow(c.ctx, `SELECT EXISTS (SELECT 1 FROM message WHERE id = ?)`, id).Scan(&there); err != nil {
			return err
		}
		c.kin = c.kin || there
	}
	return err
}

// replies lets go of those that were on their way at the cut and are not any more.
func (c *carrier) replies() error {
	type reply struct {
		row int64
		id  string
	}
	open, err := query(c.ctx, c.db, `SELECT o.id, m.id FROM outbox o JOIN message m ON m.seq = o.seq WHERE o.state = 'pending' ORDER BY o.id`,
		func(rows *sql.Rows, r *reply) error { return rows.Scan(&r.row, &r.id) })
	if err != nil {
		return err
	}
	for _, r := range open {
		var known bool
		var state, failure sql.NullString
		var attempts sql.NullInt64
		err := c.old.QueryRow(c.ctx, `SELECT m.id IS NOT NULL, o.state, o.attempts, o.error FROM (SELECT 1)
			LEFT JOIN message m ON m.id = ?1 LEFT JOIN outbox o ON o.seq = m.seq AND o.id = ?2`, r.id, r.row).Scan(&known, &state, &attempts, &failure)
		if err != nil {
			return err
		}
		if !known && !c.kin {
			continue
		}
		err = c.db.Write(c.ctx, func(tx *sqlite.Tx) error {
			if !state.Valid {
				_, err := tx.Exec(`DELETE FROM outbox WHERE id = ?`, r.row)
				return err
			}
			_, err := tx.Exec(`UPDATE outbox SET state = ?, attempts = ?, error = ? WHERE id = ?`, state.String, attempts.Int64, failure.String, r.row)
			return err
		})
		if err != nil {
			return err
		}
		if state.String != bus.StatePending {
			c.done.Delivered++
		}
	}
	return nil
}

// letter is a row of message.
type letter struct {
	seq, session                                          int64
	id, text, state, reply, failure, attachments, purpose string
	attempts, received, retries, forgiven                 int64
	finished                                              sql.NullInt64
	canceled, aside                                       bool
}

const letterColumns = `m.seq, m.session_id, m.id, m.text, m.state, m.reply, m.error, m.attachments, m.purpose,
	m.attempts, m.received_at, m.retries, m.forgiven, m.finished_at, m.canceled, m.aside`

func (l *letter) scan(rows *sql.Rows) error {
	return rows.Scan(&l.seq, &l.session, &l.id, &l.text, &l.state, &l.reply, &l.failure, &l.attachments, &l.purpose,
		&l.attempts, &l.received, &l.retries, &l.forgiven, &l.finished, &l.canceled, &l.aside)
}

func (l *letter) open() bool { return l.state == bus.StateQueued || l.state == bus.StateRunning }

func letters(ctx context.Context, db *sqlite.Store, where string, args ...any) ([]letter, error) {
	return query(ctx, db, `SELECT `+letterColumns+` FROM message m WHERE `+where,
		func(rows *sql.Rows, l *letter) error { return l.scan(rows) }, args...)
}

// messages makes of those that were open at the cut what they are by now.
func (c *carrier) messages() error {
	open, err := letters(c.ctx, c.db, `m.state IN ('queued', 'running') ORDER BY m.seq`)
	if err != nil {
		return err
	}
	for _, l := range open {
		found, err := letters(c.ctx, c.old, `m.id = ?`, l.id)
		if err != nil {
			return err
		}
		switch {
		case len(found) == 0 && c.kin:
			gone := l
			gone.state, gone.failure, gone.finished = bus.StateDead, withdrawn, sql.NullInt64{Int64: l.received, Valid: true}
			err = c.become(l, gone)
		case len(found) > 0:
			err = c.become(l, found[0])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// become changes an open message into what it is in the replaced database.
func (c *carrier) become(l, now letter) error {
	owed, err := c.repliesOf(now)
	if err != nil {
		return err
	}
	files, err := readAttachments(l.attachments)
	if err != nil {
		return err
	}
	err = c.db.Write(c.ctx, func(tx *sqlite.Tx) error {
		if now.open() {
			_, err := tx.Exec(`UPDATE message SET attempts = max(attempts, ?), forgiven = max(forgiven, ?), canceled = ? WHERE seq = ?`, now.attempts, now.forgiven, now.canceled, l.seq)
			return err
		}
		if _, err := tx.Exec(`UPDATE message SET state = ?, reply = ?, error = ?, attempts = ?, finished_at = ?, retries = ?, forgiven = ?, canceled = ?, aside = ? WHERE seq = ?`,
			now.state, now.reply, now.failure, now.attempts, now.finished, now.retries, now.forgiven, now.canceled, now.aside, l.seq); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM step WHERE seq = ?`, l.seq); err != nil {
			return err
		}
		if now.state != bus.StateDead {
			if err := release(tx, files); err != nil {
				return err
			}
		}
		return insertReplies(tx, l.seq, l.session, owed)
	})
	if err == nil && !now.open() {
		c.done.Answered++
	}
	return err
}

// owed is a row of outbox.
type owed struct {
	state, failure    string
	attempts, created int64
}

// repliesOf are those that the replaced database has not let go of.
func (c *carrier) repliesOf(l letter) ([]owed, error) {
	return query(c.ctx, c.old, `SELECT o.state, o.error, o.attempts, o.created_at FROM outbox o JOIN message m ON m.seq = o.seq WHERE m.id = ? ORDER BY o.id`,
		func(rows *sql.Rows, o *owed) error { return rows.Scan(&o.state, &o.failure, &o.attempts, &o.created) }, l.id)
}

func insertReplies(tx *sqlite.Tx, seq, session int64, replies []owed) error {
	for _, o := range replies {
		if _, err := tx.Exec(`INSERT INTO outbox (seq, session_id, state, attempts, created_at, error) VALUES (?, ?, ?, ?, ?, ?)`,
			seq, session, o.state, o.attempts, o.created, o.failure); err != nil {
			return err
		}
	}
	return nil
}

// owed brings along what was accepted since the cut and is open, dead, or has a
// reply that is. What the agent or doctor said to itself is not.
func (c *carrier) owed() error {
	since, err := letters(c.ctx, c.old, `(m.state IN ('queued', 'running') OR m.state = 'dead' OR EXISTS (SELECT 1 FROM outbox o WHERE o.seq = m.seq))
		AND m.purpose = 'turn' AND m.session_id IN (SELECT id FROM session WHERE channel <> ?) ORDER BY m.seq`, bus.DoctorChannel)
	if err != nil {
		return err
	}
	for _, l := range since {
		var there bool
		if err := c.db.QueryRow(c.ctx, `SELECT EXISTS (SELECT 1 FROM message WHERE id = ?)`, l.id).Scan(&there); err != nil {
			return err
		}
		if there {
			continue
		}
		if err := c.bring(l); err != nil {
			return err
		}
		c.done.Taken++
	}
	return nil
}

// bring inserts a message of the replaced database, with its session, files and replies.
func (c *carrier) bring(l letter) error {
	var key sessionKey
	if err := c.old.QueryRow(c.ctx, `SELECT channel, owner, name FROM session WHERE id = ?`, l.session).Scan(&key.channel, &key.owner, &key.name); err != nil {
		return err
	}
	replies, err := c.repliesOf(l)
	if err != nil {
		return err
	}
	files, err := readAttachments(l.attachments)
	if err != nil {
		return err
	}
	if l.open() {
		l.state = bus.StateQueued // its rounds are not brought along: it begins anew
	}
	held := l.state == bus.StateQueued || l.state == bus.StateDead
	if held {
		files, err = copyFiles(c.ctx, c.old, c.db, files)
		if err != nil {
			return err
		}
	}
	return c.db.Write(c.ctx, func(tx *sqlite.Tx) error {
		session, err := sessionOf(tx, key, l.received)
		if err != nil {
			return err
		}
		err = tx.QueryRow(`INSERT INTO message (id, session_id, text, state, reply, error, purpose, attempts, received_at, retries, forgiven, finished_at, canceled, aside)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq`, l.id, session, l.text, l.state, l.reply, l.failure, l.purpose, l.attempts, l.received,
			l.retries, l.forgiven, l.finished, l.canceled, l.aside).Scan(&l.seq)
		if err != nil {
			return err
		}
		if held {
			err = attach(tx, l.seq, files)
		}
		return errors.Join(err, insertReplies(tx, l.seq, session, replies))
	})
}

// sessionOf is the row of a session, which is made if it is not there.
func sessionOf(tx *sqlite.Tx, key sessionKey, at int64) (id int64, err error) {
	err = tx.QueryRow(`INSERT INTO session (channel, owner, name, created_at, last_at, messages) VALUES (?1, ?2, ?3, ?4, ?4, 1)
		ON CONFLICT (channel, owner, name) DO UPDATE SET last_at = max(last_at, ?4), messages = messages + 1 RETURNING id`,
		key.channel, key.owner, key.name, at).Scan(&id)
	return id, err
}

// source is a row of accepted.
type source struct {
	channel, owner, external, id string
	digest                       []byte
	at                           int64
}

// accepted remembers the sources' ids of what came since the cut.
func (c *carrier) accepted() error {
	const pageRows = 1000
	var last source
	for {
		page, err := query(c.ctx, c.old, `SELECT a.channel, a.owner, a.external_id, coalesce(m.id, a.message_id), a.digest, a.at FROM accepted a LEFT JOIN message m ON m.seq = a.seq
			WHERE (a.channel, a.owner, a.external_id) > (?, ?, ?) ORDER BY a.channel, a.owner, a.external_id LIMIT ?`,
			func(rows *sql.Rows, s *source) error {
				return rows.Scan(&s.channel, &s.owner, &s.external, &s.id, &s.digest, &s.at)
			}, last.channel, last.owner, last.external, pageRows)
		if err != nil || len(page) == 0 {
			return err
		}
		last = page[len(page)-1]
		page = slices.DeleteFunc(page, func(s source) bool { return s.id == "" })
		if err := c.remember(page); err != nil {
			return err
		}
	}
}

func (c *carrier) remember(page []source) error {
	remembered := 0
	err := c.db.Write(c.ctx, func(tx *sqlite.Tx) error {
		remembered = 0
		for _, s := range page {
			done, err := tx.Exec(`INSERT OR IGNORE INTO accepted (channel, owner, external_id, seq, message_id, digest, at)
				VALUES (?1, ?2, ?3, coalesce((SELECT seq FROM message WHERE id = ?4), 0), ?4, ?5, ?6)`, s.channel, s.owner, s.external, s.id, s.digest, s.at)
			if err != nil {
				return err
			}
			n, err := done.RowsAffected()
			if err != nil {
				return err
			}
			remembered += int(n)
		}
		return nil
	})
	if err == nil {
		c.done.Remembered += remembered
	}
	return err
}

// query reads all rows.
func query[T any](ctx context.Context, db *sqlite.Store, text string, scan func(*sql.Rows, *T) error, args ...any) ([]T, error) {
	rows, err := db.Query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var one T
		if err := scan(rows, &one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

func column[T any](ctx context.Context, db *sqlite.Store, text string, args ...any) ([]T, error) {
	return query(ctx, db, text, func(rows *sql.Rows, v *T) error { return rows.Scan(v) }, args...)
}

// copyFiles copies what is kept of the files, and returns those.
func copyFiles(ctx context.Context, from, to *sqlite.Store, files []bus.Attachment) (kept []bus.Attachment, err error) {
	for _, f := range files {
		err := blob.Copy(ctx, from, to, f.ID)
		if errors.Is(err, blob.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		kept = append(kept, f)
	}
	return kept, nil
}
