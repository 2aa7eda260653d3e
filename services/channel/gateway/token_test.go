// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/coder/websocket"
)

// facts returns the events of one lane, in their order.
func facts[T any](r *rig, lane bus.Event[T]) (found []T) {
	r.t.Helper()
	rows, err := r.events.After(context.WithoutCancel(r.t.Context()), 0, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, row := range rows {
		var v T
		if row.Subject != bus.Prefix+lane.Spec().Name {
			continue
		}
		if err := json.Unmarshal(row.Payload, &v); err != nil {
			r.t.Fatal(err)
		}
		found = append(found, v)
	}
	return found
}

// lasting is all that a token can have open.
type lasting struct {
	r          *rig
	events     *eventReader
	completion *eventReader
	socket     *peer
	waits      chan answer // a GET with ?wait, then a completion that is not streamed
	posted     chan answer // a POST with ?wait
}

// occupy opens one of each with token, which has the scopes chat and status.
func (r *rig) occupy(token string) *lasting {
	r.t.Helper()
	bearer := []string{"Authorization", "Bearer " + token, "Content-Type", "application/json"}
	l := &lasting{r: r, waits: make(chan answer, 2), posted: make(chan answer, 1)}
	l.events = r.open("GET", "/v1/events", "", bearer...)
	l.completion = r.open("POST", "/v1/chat/completions", helloStream, bearer...)
	<-r.agent.asked
	p, resp := r.connect(nil, "Authorization", "Bearer "+token)
	if p == nil {
		r.t.Fatalf("no socket: %s", resp.Status)
	}
	l.socket = p
	p.send(`{"type":"message","id":"a","text":"x"}`)
	p.expect("accepted", "a")
	<-r.agent.asked
	wait := func(to chan answer, method, path, body string) {
		go func() {
			a, err := r.try(method, path, body, bearer...)
			if err != nil {
				r.t.Error(err)
			}
			to <- a
		}()
		<-r.agent.asked // it waits, or is about to
	}
	wait(l.posted, "POST", "/v1/messages?wait=60s", `{"text":"x"}`)
	wait(l.waits, "GET", "/v1/messages/m1?wait=60s", "")
	wait(l.waits, "POST", "/v1/chat/completions", hello)
	return l
}

// ended wants everything to end, soon and with these words.
func (l *lasting) ended(code, words string) {
	t := l.r.t
	t.Helper()
	begun := time.Now()
	l.events.until(func(ev event) bool { return strings.Contains(ev.comment, words) })
	if ev, ok := l.events.next(); ok {
		t.Errorf("the events go on: %+v", ev)
	}
	l.completion.until(func(ev event) bool { return strings.Contains(ev.data, words) && strings.Contains(ev.data, `"error"`) })
	if ev, ok := l.completion.next(); ok {
		t.Errorf("the completion goes on: %+v", ev)
	}
	_, err := l.socket.read()
	if e := (websocket.CloseError{}); !errors.As(err, &e) || e.Code != websocket.StatusPolicyViolation || !strings.Contains(e.Reason, words) {
		t.Errorf("the socket ends with %v", err)
	}
	for range 2 {
		if a := <-l.waits; a.status != 401 || !strings.Contains(a.body, words) {
			t.Errorf("who waited got %d %s", a.status, a.body)
		}
	}
	if a := <-l.posted; a.status != 202 { // it is stored, whatever became of the token
		t.Errorf("who handed in got %d %s", a.status, a.body)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("all that took %s", took)
	}
}

func TestRevocationEndsEverything(t *testing.T) {
	r := start(t)
	cli := r.bus.Operator(t, bus.TokenRevoke, bus.TokenIssue)
	req := bus.TokenRequest{Subject: "me", Scopes: []string{"chat", "status"}, Seconds: 3600, Name: "phone"}
	token, err := bus.TokenIssue.Ask(t.Context(), cli, req)
	if err != nil {
		t.Fatal(err)
	}
	r.watch("/v1/events") // with another token: it stays
	l := r.occupy(token.Token)
	for range 2 { // the second time nothing more happens
		rec, err := bus.TokenRevoke.Ask(t.Context(), cli, bus.TokenChoice{Token: token.ID[:6]})
		if err != nil || rec.State != bus.TokenStateRevoked || rec.Revoked == nil || rec.ID != token.ID {
			t.Fatalf("%+v, %v", rec, err)
		}
	}
	l.ended("revoked_token", "the token was revoked")
	a := r.do("GET", "/v1/sessions", "", "Authorization", "Bearer "+token.Token)
	if code, _, _ := a.failure(t); a.status != 401 || code != "revoked_token" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if a := r.get("/v1/sessions", "me", "chat"); a.status != 200 {
		t.Errorf("another token: %d %s", a.status, a.body)
	}
	bustest.Eventually(t, "nothing else stays", func() bool { return len(r.service.streams) == 1 && r.service.waiters.len() == 0 })
	r.stop()
	issued, revoked := facts(r, bus.TokenIssued), facts(r, bus.TokenRevoked)
	if len(issued) == 0 || len(revoked) != 1 || revoked[0].ID != token.ID || revoked[0].Name != "phone" || revoked[0].Subject != "me" || issued[0].ID != token.ID {
		t.Errorf("issued %+v, revoked %+v", issued, revoked)
	}
	for _, d := range facts(r, bus.AccessDenied) {
		if d.Reason == reasonRevoked && d.Who == token.ID {
			return
		}
	}
	t.Error("the denial does not name the token")
}

// A socket's frame that arrives while it is being sent away is not handed over.
func TestRevokedSocketHandsNothingOver(t *testing.T) {
	r := start(t)
	token := r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 3600})
	p, _ := r.connect(nil, "Authorization", "Bearer "+token.Token)
	p.send(`{"type":"ping","id":"p"}`)
	p.expect("pong", "p")
	s := &socket{front: newFront(r.service, nil), r: &request{pass: admission{pass: r.service.passes.find(token.ID)[0]}}}
	s.r.pass.over = s.r.pass.pass.over
	if err := s.admit(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.service.revoke(t.Context(), bus.TokenChoice{Token: token.ID}); err != nil {
		t.Fatal(err)
	}
	var e *refusal
	if err := s.admit(); !errors.As(err, &e) || e.code != reasonRevoked {
		t.Errorf("got %v", err)
	}
}

// A token of the device key of before is void at once, with all that it has open.
func TestDeviceKeyChanges(t *testing.T) {
	var key atomic.Pointer[ed25519.PrivateKey]
	turn := func() {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key.Store(&private)
	}
	turn()
	r := startWith(t, func(d *Deps) { d.Key = func() ed25519.PrivateKey { return *key.Load() } }, nil)
	token := r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"chat", "status"}, Seconds: 3600})
	l := r.occupy(token.Token)
	turn()
	a := r.do("GET", "/v1/sessions", "", "Authorization", "Bearer "+token.Token)
	if code, _, _ := a.failure(t); a.status != 401 || code != "bad_token" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	l.ended("bad_token", "a device key that is no longer used")
	if a := r.get("/v1/sessions", "me", "chat"); a.status != 200 {
		t.Errorf("a token of the new key: %d %s", a.status, a.body)
	}
	states := map[string]string{}
	for _, rec := range r.service.passes.list(true) {
		states[rec.ID] = rec.State
	}
	if states[token.ID] != bus.TokenStateVoid || len(states) != 2 || len(r.service.passes.list(false)) != 1 {
		t.Errorf("states %v", states)
	}
}

// What was revoked stays so, and what is not in the database does not get in, in
// whatever state it comes back.
func TestTokensOutliveTheRoom(t *testing.T) {
	r := start(t)
	kept, revoked := r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 3600, Name: "kept", Rate: new(int64(7))}),
		r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 3600})
	if _, err := r.service.revoke(t.Context(), bus.TokenChoice{Token: revoked.ID}); err != nil {
		t.Fatal(err)
	}
	if a := r.do("GET", "/v1/sessions", "", "Authorization", "Bearer "+kept.Token); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	before := r.service.passes.list(true)
	r.stop()
	after := func() []bus.TokenRecord {
		s, _ := newService(t, r.bus, r.store)
		if err := s.readTokens(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s.passes.list(true)
	}
	same := func(a, b bus.TokenRecord) bool { // times count in milliseconds
		return a.ID == b.ID && a.Name == b.Name && a.Rate == b.Rate && a.State == b.State && slices.Equal(a.Scopes, b.Scopes) && a.Subject == b.Subject &&
			a.Expires.Equal(b.Expires) && (a.LastUsed == nil) == (b.LastUsed == nil) && (a.Revoked == nil) == (b.Revoked == nil)
	}
	bustest.Eventually(t, "the same is known, the last use a little later", func() bool {
		got := after()
		return slices.EqualFunc(got, before, same) && len(got) == 2
	})
	if err := r.store.Write(context.WithoutCancel(t.Context()), func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`DELETE FROM gateway_tokens`) // as in a database of before
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := after(); len(got) != 0 {
		t.Errorf("read %+v", got)
	}
}

func TestTokensAreBounded(t *testing.T) {
	clock := &fakeClock{at: time.Now()}
	r := startWith(t, func(d *Deps) { d.Now = clock.now }, nil, func(c *Config) { c.MaxTokens = 3 })
	req := bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 60}
	var last bus.Token
	for range 3 {
		last = r.issue(req)
	}
	_, err := r.service.issue(t.Context(), req)
	var e *bus.Error
	if !errors.As(err, &e) || e.Code != bus.CodeBusy || !strings.Contains(e.Hint, "max_tokens") {
		t.Fatalf("one too many: %v", err)
	}
	if a := r.do("GET", "/metrics", ""); !strings.Contains(a.body, "blufio_gateway_tokens 3\n") || !strings.Contains(a.body, "blufio_gateway_tokens_limit 3\n") {
		t.Error("the gauges do not show it")
	}
	for range 10 { // those that ended are bounded too
		if _, err := r.service.revoke(t.Context(), bus.TokenChoice{Token: last.ID}); err != nil {
			t.Fatal(err)
		}
		clock.add(time.Second)
		last = r.issue(req)
		r.service.noteTokens(false)
	}
	rows := func() (n int) {
		if err := r.store.QueryRow(t.Context(), `SELECT count(*) FROM gateway_tokens`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := len(r.service.passes.byID); n != 6 {
		t.Errorf("%d are known", n)
	}
	if a := r.do("GET", "/metrics", ""); !strings.Contains(a.body, "blufio_gateway_tokens_ended 3\n") || !strings.Contains(a.body, "blufio_gateway_tokens_ended_limit 3\n") {
		t.Error("the gauges do not show those that ended")
	}
	bustest.Eventually(t, "the database forgets as well", func() bool { return rows() == 6 })
	clock.add(2 * time.Minute)
	r.issue(req) // there is room: they have expired
	clock.add(keepEnded + 2*time.Minute)
	r.service.noteTokens(false)
	bustest.Eventually(t, "what ended long ago is forgotten", func() bool { return rows() == 0 && len(r.service.passes.list(true)) == 0 })
	if a := r.do("GET", "/v1/sessions", "", "Authorization", "Bearer "+last.Token); a.status != 401 {
		t.Errorf("a forgotten token: %d", a.status)
	}
}

// The last use is noted, and at most once a minute.
func TestLastUse(t *testing.T) {
	clock := &fakeClock{at: time.Now().Truncate(time.Millisecond)}
	r := startWith(t, func(d *Deps) { d.Now = clock.now }, nil)
	token := r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 3600})
	use := func() time.Time {
		if a := r.do("GET", "/v1/sessions", "", "Authorization", "Bearer "+token.Token); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		return clock.now()
	}
	first := use()
	if got := r.service.passes.uses(false); len(got) != 1 || !got[token.ID].Equal(first) {
		t.Fatalf("noted %v", got)
	}
	clock.add(59 * time.Second)
	second := use()
	if got := r.service.passes.uses(false); len(got) != 0 {
		t.Errorf("noted again after 59 s: %v", got)
	}
	if got := r.service.passes.list(false)[0].LastUsed; !got.Equal(second) {
		t.Errorf("listed as %s", got)
	}
	clock.add(time.Second)
	third := use()
	r.service.noteTokens(false)
	used := func(want time.Time) func() bool {
		return func() bool {
			var ms *int64
			if err := r.store.QueryRow(context.WithoutCancel(t.Context()), `SELECT used_at FROM gateway_tokens`).Scan(&ms); err != nil {
				t.Fatal(err)
			}
			return ms != nil && *ms == want.UnixMilli()
		}
	}
	bustest.Eventually(t, "it is stored", used(third))
	clock.add(time.Second)
	fourth := use()
	r.stop()
	bustest.Eventually(t, "the end notes the rest", used(fourth))
}

// A revocation counts at once also when the database fails, says so, and is stored
// when it can be.
func TestRevocationThatCannotBeStored(t *testing.T) {
	r := start(t)
	token := r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 3600})
	rename := func(from, to string) {
		t.Helper()
		if err := r.store.Write(t.Context(), func(tx *sqlite.Tx) error {
			_, err := tx.Exec("ALTER TABLE " + from + " RENAME TO " + to)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	rename("gateway_tokens", "away")
	_, err := r.service.revoke(t.Context(), bus.TokenChoice{Token: token.ID})
	if bus.CodeOf(err) != bus.CodeUnavailable || !strings.Contains(err.Error(), "is refused from now on") {
		t.Errorf("got %v", err)
	}
	if a := r.do("GET", "/v1/sessions", "", "Authorization", "Bearer "+token.Token); a.status != 401 {
		t.Errorf("it is admitted: %d", a.status)
	}
	if _, err := r.service.issue(t.Context(), bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 60}); err == nil || len(r.service.passes.byID) != 1 {
		t.Errorf("a token that is not stored is issued (%v)", err)
	}
	rename("away", "gateway_tokens")
	bustest.Eventually(t, "it is stored", func() bool {
		var n int
		err := r.store.QueryRow(t.Context(), `SELECT count(*) FROM gateway_tokens WHERE revoked_at IS NOT NULL`).Scan(&n)
		return err == nil && n == 1 && len(r.service.passes.unstored()) == 0
	})
	if n := len(facts(r, bus.TokenRevoked)); n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestChoiceOfTokens(t *testing.T) {
	r := start(t)
	cli := r.bus.Operator(t, bus.TokenList, bus.TokenRevoke)
	req := bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 3600, Name: "twin"}
	one := r.issue(req)
	if _, err := r.service.issue(t.Context(), req); bus.CodeOf(err) != bus.CodeConflict || !strings.Contains(err.Error(), "the name twin") {
		t.Errorf("a second token of one name: %v", err)
	}
	req.Name = "other"
	two := r.issue(req)
	r.service.passes.mu.Lock()
	r.service.passes.byID[two.ID].name = "twin" // as in a database of before names were unique
	r.service.passes.mu.Unlock()
	req.Name = one.ID[:3] // a name may look like an id's beginning: the name counts
	odd := r.issue(req)
	tests := []struct {
		word, want string
		code       bus.Code
	}{
		{"", "", bus.CodeInvalid}, {"nobody", "", bus.CodeNotFound}, {"twin", "", bus.CodeConflict},
		{one.ID, one.ID, ""}, {"twin", two.ID, ""}, // one of the two is left
		{"twin", two.ID, ""}, {two.ID, two.ID, ""}, // and it was revoked already, by either name
		{one.ID[:3], odd.ID, ""}, {one.ID[:5], one.ID, ""}, // revoked already
	}
	for _, tt := range tests {
		rec, err := bus.TokenRevoke.Ask(t.Context(), cli, bus.TokenChoice{Token: tt.word})
		if bus.CodeOf(err) != tt.code || rec.ID != tt.want {
			t.Errorf("%q: %+v, %v", tt.word, rec, err)
		}
		if e := (*bus.Error)(nil); err != nil && (!errors.As(err, &e) || e.Hint == "") {
			t.Errorf("%q: no hint: %v", tt.word, err)
		}
	}
	req.Name = ""
	for range 5 {
		r.issue(req)
	}
	var ids []string
	for q := (bus.TokenQuery{All: true, Limit: 3}); ; {
		page, err := bus.TokenList.Ask(t.Context(), cli, q)
		if err != nil || len(page.Tokens) > 3 {
			t.Fatalf("%+v, %v", page, err)
		}
		for _, rec := range page.Tokens {
			ids = append(ids, rec.ID)
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != 8 {
		t.Errorf("listed %v", ids)
	}
	for _, q := range []bus.TokenQuery{{Limit: -1}, {Limit: 501}, {After: "nobody"}} {
		if _, err := bus.TokenList.Ask(t.Context(), cli, q); err == nil {
			t.Errorf("%+v is answered", q)
		}
	}
}

// A clock that is set back makes an expired token valid again: so it says, and so its
// streams last.
func TestClockIsSetBack(t *testing.T) {
	clock := &fakeClock{at: time.Now()}
	r := startWith(t, func(d *Deps) { d.Now = clock.now }, nil)
	token := r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 60})
	clock.add(2 * time.Minute)
	r.service.passes.end()
	if a := r.do("GET", "/v1/sessions", "", "Authorization", "Bearer "+token.Token); a.status != 401 {
		t.Errorf("got %d", a.status)
	}
	clock.add(-2 * time.Minute)
	p, resp := r.connect(nil, "Authorization", "Bearer "+token.Token)
	if p == nil {
		t.Fatal(resp.Status)
	}
	p.send(`{"type":"ping","id":"p"}`)
	p.expect("pong", "p")
}

func TestBucket(t *testing.T) {
	type step struct {
		after time.Duration
		wait  time.Duration // 0: let through
	}
	tests := []struct {
		name  string
		rate  int64
		steps []step
	}{
		{"none", 0, []step{{}, {}, {}}},
		{"one a minute", 1, []step{{}, {0, time.Minute}, {30 * time.Second, 30 * time.Second}, {30 * time.Second, 0}, {0, time.Minute}}},
		{"three", 3, []step{{}, {}, {}, {0, 20 * time.Second}, {5 * time.Second, 15 * time.Second}, {15 * time.Second, 0}, {0, 20 * time.Second}, {time.Hour, 0}, {}, {}, {0, 20 * time.Second}}},
		{"set back", 2, []step{{}, {}, {0, 30 * time.Second}, {-time.Hour, 0}, {}, {0, 30 * time.Second}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bucket
			now := time.Unix(1_000_000, 0)
			for i, s := range tt.steps {
				now = now.Add(s.after)
				if wait, ok := b.take(now, tt.rate); wait != s.wait || ok != (s.wait == 0) {
					t.Errorf("step %d: %v, wait %s, want %s", i, ok, wait, s.wait)
				}
			}
		})
	}
}

func TestRate(t *testing.T) {
	clock := &fakeClock{at: time.Now()}
	r := startWith(t, func(d *Deps) { d.Now = clock.now }, nil, func(c *Config) { c.TokenRate = 4 })
	token := r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 3600})
	get := func(path string) answer { return r.do("GET", path, "", "Authorization", "Bearer "+token.Token) }
	p, _ := r.connect(nil, "Authorization", "Bearer "+token.Token) // the first
	p.send(`{"type":"ping","id":"p"}`)                             // the second
	p.expect("pong", "p")
	if a := get("/v1/events"); a.status != 403 { // the third, though its scope is another
		t.Errorf("got %d %s", a.status, a.body)
	}
	if a := get("/v1/sessions"); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.body)
	}
	a := get("/v1/sessions")
	if code, message, hint := a.failure(t); a.status != 429 || code != "rate_limited" || a.header.Get("Retry-After") != "15" || !strings.Contains(message, "4 requests a minute") || hint == "" {
		t.Errorf("got %d, Retry-After %q: %s", a.status, a.header.Get("Retry-After"), a.body)
	}
	if b := get("/v1/models").blame(t); b.Type != "rate_limit_error" || b.Code != "rate_limit_exceeded" {
		t.Errorf("got %+v", b)
	}
	for _, frame := range []string{`{"type":"message","id":"m","text":"x"}`, `{"type":"ping","id":"m"}`} {
		p.send(frame)
		if f := p.expect("error", "m"); f.Error.Code != "rate_limited" || len(r.agent.order) != 0 {
			t.Errorf("got %+v", f.Error)
		}
	}
	if a := r.get("/v1/sessions", "me", "chat"); a.status != 200 {
		t.Errorf("another token: %d %s", a.status, a.body)
	}
	clock.add(15 * time.Second)
	if a := get("/v1/sessions"); a.status != 200 {
		t.Errorf("after the wait: %d %s", a.status, a.body)
	}
	if a := r.do("GET", "/metrics", ""); !strings.Contains(a.body, `blufio_gateway_denied_total{reason="rate_limited"} 4`+"\n") {
		t.Error("they are not counted")
	}
	r.stop()
	told := map[string]int64{}
	for _, d := range facts(r, bus.AccessDenied) {
		told[fmt.Sprint(d.Reason, " ", d.Who)] += d.Count
	}
	if told["rate_limited "+token.ID] != 4 || told["scope "+token.ID] != 1 || len(told) != 2 {
		t.Errorf("told %v", told)
	}
}
