// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	passBytes = 1 << 10            // of memory that one takes, generously
	keepEnded = 7 * 24 * time.Hour // what is no longer valid is listed for so long
	usedEvery = time.Minute        // how exactly the last use is noted
)

// pass is an issued token as the gateway knows it.
type pass struct {
	id, name, subject string
	scopes            []string
	rate              int64 // requests a minute; 0: any number
	issued, expires   time.Time
	signer            ed25519.PublicKey
	bucket            bucket

	// Under passes.mu.
	used     time.Time     // last
	noted    time.Time     // what the database has of it
	revoked  time.Time     // zero: not
	unstored bool          // the database does not know that it is revoked
	over     chan struct{} // closed when it has ended in whatever way
	barred   chan struct{} // closed when it has ended otherwise than by its time
}

// state of the pass at now, when signer is the device key.
func (p *pass) state(now time.Time, signer ed25519.PublicKey) string {
	switch {
	case !p.revoked.IsZero():
		return bus.TokenStateRevoked
	case !now.Before(p.expires):
		return bus.TokenStateExpired
	case !p.signer.Equal(signer):
		return bus.TokenStateVoid
	}
	return bus.TokenStateValid
}

// since is when the pass ended or will end, for the order in which the ended are
// forgotten.
func (p *pass) since() time.Time {
	if !p.revoked.IsZero() && p.revoked.Before(p.expires) {
		return p.revoked
	}
	return p.expires
}

// passes are the issued tokens by their ids: at most limit that are valid, and as many
// that no longer are. A token that is not among them is refused, so what is forgotten
// is refused as well.
type passes struct {
	limit  int
	now    func() time.Time
	signer func() ed25519.PublicKey

	mu    sync.Mutex
	byID  map[string]*pass
	alive int // valid at the last sweep, and those added since
}

func newPasses(limit int, now func() time.Time, signer func() ed25519.PublicKey) *passes {
	return &passes{limit: limit, now: now, signer: signer, byID: map[string]*pass{}}
}

// admission is a pass as it stood when it was shown.
type admission struct {
	*pass
	standing string          // state
	over     <-chan struct{} // closed when it ends
	barred   <-chan struct{} // closed when it ends otherwise than by its time
}

// admit looks for the pass of a token and, if it is valid, notes its use.
func (ps *passes) admit(id, subject string) (admission, bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.byID[id]
	if p == nil || p.subject != subject {
		return admission{}, false
	}
	now := ps.now()
	a := admission{pass: p, standing: p.state(now, ps.signer())}
	if a.standing == bus.TokenStateValid {
		if closed(p.over) && !closed(p.barred) {
			p.over = make(chan struct{}) // the clock was set back
		}
		p.used = now
	}
	a.over, a.barred = p.over, p.barred
	return a, true
}

// Why a pass is not added.
var (
	errFull  = errors.New("there is no room for another token")
	errTaken = errors.New("a valid token has this name")
)

// add makes a new pass known, unless there is no room for it or its name is taken.
func (ps *passes) add(p *pass) error {
	if ps.count() >= ps.limit {
		ps.end() // some may have come to their end
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.alive >= ps.limit {
		return errFull
	}
	if p.name != "" {
		now, signer := ps.now(), ps.signer()
		for _, other := range ps.byID {
			if other.name == p.name && other.state(now, signer) == bus.TokenStateValid {
				return errTaken
			}
		}
	}
	ps.enter(p)
	return nil
}

// restore makes a pass of the database known, unless it is.
func (ps *passes) restore(p *pass) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.byID[p.id] == nil {
		ps.enter(p)
	}
}

// enter makes p known. ps.mu is held.
func (ps *passes) enter(p *pass) {
	p.over, p.barred = make(chan struct{}), make(chan struct{})
	ps.byID[p.id] = p
	ps.alive++
}

// drop forgets a pass that was never given out.
func (ps *passes) drop(p *pass) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.byID, p.id)
	ps.alive--
}

// revoke ends p at once. It reports when that was, and whether the database has yet to
// hear of it.
func (ps *passes) revoke(p *pass) (at time.Time, store bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p.revoked.IsZero() {
		p.revoked, p.unstored = ps.now(), true
		shut(p.over)
		shut(p.barred)
	}
	return p.revoked, p.unstored
}

func (ps *passes) stored(p *pass) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.unstored = false
}

// sweep ends what has come to its end and forgets what ended long ago, or is too much.
// It returns the ids that the database may forget too.
func (ps *passes) sweep() (forgotten []string) {
	ended := ps.end()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	slices.SortFunc(ended, func(a, b *pass) int { return b.since().Compare(a.since()) })
	for i, p := range ended {
		if !p.unstored && (i >= ps.limit || ps.now().Sub(p.since()) > keepEnded) {
			delete(ps.byID, p.id)
			forgotten = append(forgotten, p.id)
		}
	}
	return forgotten
}

// end tells those who use a pass that has come to its end, counts those that have
// not, and returns the others.
func (ps *passes) end() (ended []*pass) {
	now, signer := ps.now(), ps.signer()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.alive = 0
	for _, p := range ps.byID {
		switch p.state(now, signer) {
		case bus.TokenStateValid:
			ps.alive++
			continue
		case bus.TokenStateVoid, bus.TokenStateRevoked:
			shut(p.barred)
		}
		shut(p.over)
		ended = append(ended, p)
	}
	return ended
}

// unstored returns the passes of whose revocation the database has yet to hear.
func (ps *passes) unstored() (all []*pass) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.byID {
		if p.unstored {
			all = append(all, p)
		}
	}
	return all
}

// find returns the passes that word may mean: the one of that id, or those that are
// valid and have that name, or the latest that had it, or those whose ids begin so.
func (ps *passes) find(word string) []*pass {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p := ps.byID[word]; p != nil {
		return []*pass{p}
	}
	var named, begun, ended []*pass
	now, signer := ps.now(), ps.signer()
	for _, p := range ps.byID {
		switch {
		case p.name != word:
		case p.state(now, signer) == bus.TokenStateValid:
			named = append(named, p)
		default:
			ended = append(ended, p)
		}
		if strings.HasPrefix(p.id, word) {
			begun = append(begun, p)
		}
	}
	switch {
	case len(named) > 0:
	case len(ended) > 0:
		return []*pass{slices.MinFunc(ended, latest)}
	default:
		named = begun
	}
	slices.SortFunc(named, latest)
	return named
}

// latest sorts passes by when they were issued, the latest first; of those issued together
// the one revoked last.
func latest(a, b *pass) int {
	return cmp.Or(b.issued.Compare(a.issued), b.revoked.Compare(a.revoked), strings.Compare(a.id, b.id))
}

// list returns records, the latest first; all: also of those that are no longer valid.
func (ps *passes) list(all bool) []bus.TokenRecord {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var some []*pass
	now, signer := ps.now(), ps.signer()
	for _, p := range ps.byID {
		if all || p.state(now, signer) == bus.TokenStateValid {
			some = append(some, p)
		}
	}
	slices.SortFunc(some, latest)
	records := make([]bus.TokenRecord, len(some))
	for i, p := range some {
		records[i] = p.record(p.state(now, signer))
	}
	return records
}

func (ps *passes) record(p *pass) bus.TokenRecord {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return p.record(p.state(ps.now(), ps.signer()))
}

func (p *pass) record(state string) bus.TokenRecord {
	return bus.TokenRecord{ID: p.id, Name: p.name, Subject: p.subject, Scopes: slices.Clone(p.scopes), Rate: p.rate, State: state,
		Issued: p.issued.UTC(), Expires: p.expires.UTC(), LastUsed: moment(p.used), Revoked: moment(p.revoked)}
}

// uses returns the last uses that the database does not know of, at most one of each
// token in usedEvery; all of them if last.
func (ps *passes) uses(last bool) map[string]time.Time {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var found map[string]time.Time
	for _, p := range ps.byID {
		if p.used.After(p.noted) && (last || p.used.Sub(p.noted) >= usedEvery) {
			if found == nil {
				found = map[string]time.Time{}
			}
			found[p.id], p.noted = p.used, p.used
		}
	}
	return found
}

// count is how many are valid, as of the last sweep.
func (ps *passes) count() int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.alive
}

// ended is how many are no longer valid, as of the last sweep, and still listed.
func (ps *passes) ended() int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return len(ps.byID) - ps.alive
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// shut closes c unless it is closed. Two may not do so at once.
func shut(c chan struct{}) {
	if !closed(c) {
		close(c)
	}
}
