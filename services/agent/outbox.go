// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// outbox knows, in memory, which sessions of a channel have undelivered replies;
// the replies are in the outbox table. A session is claimed before its oldest reply is read
// and given back after the outcome is written, so replies of one session leave
// one after another, and none is read while another delivery still changes it.
type outbox struct {
	mu       sync.Mutex
	total    int
	sessions map[int64]*undelivered // by session row
	most     int                    // sessions at one time since the table was made
	ready    []int64                // sessions whose next reply may go, longest first
	wake     chan struct{}          // gets an element when one is ready or held back
	returns  int                    // how often the channel has come back from an outage
}

// undelivered is a session's part. It is in ready, claimed, or held back.
type undelivered struct {
	since     []time.Time // of each reply, oldest first
	claimed   bool
	queued    bool      // in ready
	notBefore time.Time // held back until then, after a failure
	floor     time.Time // and until then though the channel comes back
	returns   int       // the outbox's, when it was claimed
	failures  int       // of its oldest reply, since the channel last came back
	absent    int       // times in a row that no room answered for the channel
}

func newOutbox() *outbox {
	return &outbox{sessions: map[int64]*undelivered{}, wake: make(chan struct{}, 1)}
}

func (o *outbox) depth() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total
}

func (o *outbox) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total, o.ready = 0, nil
	clear(o.sessions)
}

// add counts new replies of a session, by since when they wait.
func (o *outbox) add(session int64, since ...time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	u := o.sessions[session]
	if u == nil {
		u = &undelivered{}
		o.sessions[session] = u
		o.most = max(o.most, len(o.sessions))
	}
	u.since = append(u.since, since...)
	o.total += len(since)
	o.offer(session, u)
}

// offer puts a session into ready, if nothing keeps it back.
func (o *outbox) offer(session int64, u *undelivered) {
	if u.claimed || u.queued || !u.notBefore.IsZero() {
		return
	}
	u.queued = true
	o.ready = append(o.ready, session)
	wake(o.wake)
}

// claim takes the session that has been ready longest.
func (o *outbox) claim() (session int64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.ready) == 0 {
		return 0, false
	}
	session, o.ready = o.ready[0], o.ready[1:]
	u := o.sessions[session]
	u.queued, u.claimed, u.returns = false, true, o.returns
	return session, true
}

// ended gives a claimed session back after its oldest reply has left the outbox.
func (o *outbox) ended(session int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	u := o.sessions[session]
	u.claimed, u.failures, u.absent = false, 0, 0
	u.since = u.since[1:]
	o.total--
	if len(u.since) == 0 {
		delete(o.sessions, session)
		return
	}
	o.offer(session, u)
}

// hold gives a claimed session back until t, when its oldest reply is tried again.
func (o *outbox) hold(session int64, t time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	u := o.sessions[session]
	u.claimed, u.notBefore, u.floor = false, t, t
	wake(o.wake)
}

// postpone gives a claimed session back for a while, after a failure at the time now. It may be shorter, but not than
// least, if the channel comes back.
func (o *outbox) postpone(session int64, now time.Time, wait, least time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	u := o.sessions[session]
	u.claimed, u.notBefore, u.floor = false, now.Add(wait), now.Add(least)
	if u.returns != o.returns { // it has since this try began
		u.lift()
		o.release(now)
	}
	wake(o.wake)
}

// back lets the sessions go that wait for no more than that the channel works again.
func (o *outbox) back(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.returns++
	for _, u := range o.sessions {
		u.lift()
	}
	o.release(now)
}

// lift forgets what was guessed from failures before the channel came back.
func (u *undelivered) lift() {
	u.failures = 0
	if !u.notBefore.IsZero() {
		u.notBefore = u.floor
	}
}

// holds reports that a session is held back.
func (o *outbox) holds() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, u := range o.sessions {
		if !u.notBefore.IsZero() {
			return true
		}
	}
	return false
}

// due lets the sessions go that were held back until now.
func (o *outbox) due(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.release(now)
}

// release ends the pauses that are over, of the session that has waited longest first.
func (o *outbox) release(now time.Time) {
	var over []int64
	for session, u := range o.sessions {
		if !u.notBefore.IsZero() && !u.notBefore.After(now) {
			over = append(over, session)
		}
	}
	slices.SortFunc(over, func(a, b int64) int { return o.sessions[a].since[0].Compare(o.sessions[b].since[0]) })
	for _, session := range over {
		u := o.sessions[session]
		u.notBefore = time.Time{}
		o.offer(session, u)
	}
}

// oldest is since when a reply has waited longest; zero when none does.
func (o *outbox) oldest() (t time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, u := range o.sessions {
		t = earlier(t, u.since[0])
	}
	return t
}

// absence counts that no room answered for a claimed session's channel, and
// returns how often in a row that was.
func (o *outbox) absence(session int64) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	u := o.sessions[session]
	u.absent++
	return u.absent
}

// failure counts a failed try of a claimed session's oldest reply, and returns how many there were since the channel
// last came back.
func (o *outbox) failure(session int64) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	u := o.sessions[session]
	u.failures++
	return u.failures
}

// undelivered counts the replies of all channels.
func (s *Service) undelivered() (n int) {
	for _, o := range s.outbox {
		n += o.depth()
	}
	return n
}

// loadOutbox counts what an earlier run left undelivered. It is tried at once.
func (s *Service) loadOutbox(ctx context.Context) error {
	for _, o := range s.outbox {
		o.reset()
	}
	rows, err := s.store.Query(ctx, `SELECT s.channel, o.session_id, o.created_at FROM outbox o JOIN session s ON s.id = o.session_id
		WHERE o.state = 'pending' ORDER BY o.id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var channel string
		var session, created int64
		if err := rows.Scan(&channel, &session, &created); err != nil {
			return err
		}
		s.outboxOf(channel).add(session, time.UnixMilli(created))
	}
	return rows.Err()
}

// oldest reads the session's oldest undelivered reply.
func (s *Service) oldest(ctx context.Context, session int64) (delivery, error) {
	d := delivery{session: session}
	r := &d.reply
	var created, received, retries int64
	err := s.store.QueryRow(ctx, `SELECT o.id, o.attempts, o.created_at, m.received_at, s.channel, s.owner, s.name, m.id, m.state, m.reply, m.retries,
		m.retries > 0 OR o.created_at > coalesce(m.finished_at, o.created_at)
		FROM outbox o JOIN session s ON s.id = o.session_id JOIN message m ON m.seq = o.seq
		WHERE o.session_id = ? AND o.state = 'pending' ORDER BY o.id LIMIT 1`, session).
		Scan(&d.id, &r.Attempt, &created, &received, &d.channel, &r.Owner, &r.Session, &r.MessageID, &r.State, &r.Text, &retries, &d.retried)
	if errors.Is(err, sql.ErrNoRows) {
		err = errors.New("the outbox holds fewer replies than counted")
	}
	d.created, d.received = time.UnixMilli(created), time.UnixMilli(received)
	r.Attempt++
	if r.Key = r.MessageID; retries > 0 {
		r.Key += fmt.Sprintf(".%d", retries) // not the reply that told of its failure
	}
	return d, err
}
