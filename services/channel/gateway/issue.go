// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	maxTokenSeconds = 10 * 365 * 24 * 60 * 60
	maxTokenRate    = 1_000_000 // a minute
	maxTokenPage    = 500
	idBytes         = 16 // of base 32
)

// issue answers ctl.token.issue. A token is known before it is stored, and handed
// out after.
func (s *Service) issue(ctx context.Context, r bus.TokenRequest) (bus.Token, error) {
	p, err := s.newPass(r)
	if err != nil {
		return bus.Token{}, err
	}
	switch err := s.passes.add(p); err {
	case nil:
	case errTaken:
		return bus.Token{}, bus.Errorf(bus.CodeConflict, "there is a valid token with the name %s", p.name).
			WithHint("choose another name, or `blufio token revoke %s` first", p.name)
	default:
		return bus.Token{}, bus.Errorf(bus.CodeBusy, "%d tokens are valid", s.cfg.MaxTokens).
			WithHint("revoke some (`blufio token list` shows them), let them expire sooner, or raise gateway.max_tokens")
	}
	token, err := s.mint.sign(p)
	if err == nil {
		err = s.store.Write(ctx, func(tx *sqlite.Tx) error { return s.insert(tx, p) })
	}
	if err != nil {
		s.passes.drop(p)
		return bus.Token{}, fmt.Errorf("issue token: %w", err)
	}
	return bus.Token{Token: token, Subject: p.subject, Expires: p.expires.UTC(), ID: p.id, Name: p.name, Rate: p.rate}, nil
}

func (s *Service) newPass(r bus.TokenRequest) (*pass, error) {
	if !bus.ValidToken(r.Subject) {
		return nil, unusable("subject", r.Subject)
	}
	if r.Name != "" && !bus.ValidName(r.Name) {
		return nil, bus.Errorf(bus.CodeInvalid, "the name %q cannot be used", shorten(r.Name)).WithHint(bus.NameRule)
	}
	scopes, err := knownScopes(r.Scopes)
	if err != nil {
		return nil, err
	}
	if r.Seconds < 1 || r.Seconds > maxTokenSeconds {
		return nil, bus.Errorf(bus.CodeInvalid, "a token cannot be valid for that long: %d seconds", r.Seconds).
			WithHint("use at least one second and at most ten years")
	}
	rate := int64(s.live.Load().TokenRate)
	if r.Rate != nil {
		rate = *r.Rate
	}
	if rate < 0 || rate > maxTokenRate {
		return nil, bus.Errorf(bus.CodeInvalid, "a token cannot have a rate of %d requests a minute", rate).
			WithHint("use 1 to %d, or 0 for no limit", maxTokenRate)
	}
	now := s.now()
	return &pass{
		id: strings.ToLower(rand.Text()[:idBytes]), name: r.Name, subject: r.Subject, scopes: scopes, rate: rate, signer: s.mint.public(),
		issued: now.Truncate(time.Millisecond),
		// A token counts in whole seconds: rounded up, so that it holds as long as promised.
		expires: now.Add(time.Duration(r.Seconds)*time.Second + time.Second - 1).Truncate(time.Second),
	}, nil
}

func unusable(what, value string) error {
	return bus.Errorf(bus.CodeInvalid, "the %s %q cannot be used", what, shorten(value)).WithHint("use 1 to 64 of a-z, 0-9, - and _")
}

// knownScopes returns asked in a fixed order and each once.
func knownScopes(asked []string) ([]string, error) {
	all := []string{scopeChat, scopeStatus, scopeMetrics, scopeAdmin}
	for _, scope := range asked {
		if !slices.Contains(all, scope) {
			return nil, bus.Errorf(bus.CodeInvalid, "there is no scope %q", shorten(scope)).WithHint("use some of: %s", strings.Join(all, ", "))
		}
	}
	if len(asked) == 0 {
		return nil, bus.Errorf(bus.CodeInvalid, "a token needs a scope").WithHint("use some of: %s", strings.Join(all, ", "))
	}
	return slices.DeleteFunc(all, func(scope string) bool { return !slices.Contains(asked, scope) }), nil
}

// listTokens answers ctl.token.list.
func (s *Service) listTokens(_ context.Context, q bus.TokenQuery) (bus.TokenPage, error) {
	if q.Limit < 0 || q.Limit > maxTokenPage {
		return bus.TokenPage{}, bus.Errorf(bus.CodeInvalid, "a page cannot have %d tokens", q.Limit).WithHint("use 1 to %d", maxTokenPage)
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	records := s.passes.list(q.All)
	if q.After != "" {
		at := slices.IndexFunc(records, func(r bus.TokenRecord) bool { return r.ID == q.After })
		if at < 0 {
			return bus.TokenPage{}, bus.Errorf(bus.CodeNotFound, "the token %s is no longer listed", shorten(q.After)).WithHint("begin again with the first page")
		}
		records = records[at+1:]
	}
	page := bus.TokenPage{Tokens: records}
	if len(records) > q.Limit {
		page = bus.TokenPage{Tokens: records[:q.Limit], Next: records[q.Limit-1].ID}
	}
	return page, nil
}

// revoke answers ctl.token.revoke. The token is refused from this moment on, also
// when that cannot be stored, which is then said. What is no longer valid is left
// as it is.
func (s *Service) revoke(ctx context.Context, c bus.TokenChoice) (bus.TokenRecord, error) {
	p, err := s.choose(c.Token)
	if err != nil {
		return bus.TokenRecord{}, err
	}
	if s.passes.record(p).State == bus.TokenStateExpired {
		return s.passes.record(p), nil
	}
	if at, store := s.passes.revoke(p); store {
		if err := s.store.Write(ctx, func(tx *sqlite.Tx) error { return s.strike(tx, p, at) }); err != nil {
			s.log.Error("revocation not stored", "token", p.id, "err", err)
			return bus.TokenRecord{}, bus.Errorf(bus.CodeUnavailable, "the token %s is refused from now on, but that could not be stored yet: a restart before that would admit it again", p.id).
				WithHint("it is tried again every second; `blufio status` shows why the database cannot be written")
		}
		s.passes.stored(p)
	}
	return s.passes.record(p), nil
}

// choose finds the one token that word means.
func (s *Service) choose(word string) (*pass, error) {
	const hint = "`blufio token list --all` shows them"
	if word == "" {
		return nil, bus.Errorf(bus.CodeInvalid, "no token is named").WithHint("give its id, the beginning of its id, or its name")
	}
	found := s.passes.find(word)
	switch len(found) {
	case 0:
		return nil, bus.Errorf(bus.CodeNotFound, "there is no token %q", shorten(word)).WithHint(hint)
	case 1:
		return found[0], nil
	}
	var ids []string
	for _, p := range found[:min(len(found), 4)] {
		ids = append(ids, p.id)
	}
	if len(found) > len(ids) {
		ids = append(ids, "…")
	}
	return nil, bus.Errorf(bus.CodeConflict, "%q may mean %d tokens: %s", word, len(found), strings.Join(ids, ", ")).WithHint("give more of the id; " + hint)
}

func (p *pass) fact(at time.Time) bus.TokenFact {
	return bus.TokenFact{Time: at.UTC(), ID: p.id, Name: p.name, Subject: p.subject, Scopes: p.scopes, Expires: p.expires.UTC()}
}

// insert stores a token with its event.
func (s *Service) insert(tx *sqlite.Tx, p *pass) error {
	_, err := tx.Exec(`INSERT INTO gateway_tokens (id, name, subject, scopes, rate, signer, issued_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		p.id, p.name, p.subject, strings.Join(p.scopes, " "), p.rate, []byte(p.signer), p.issued, p.expires)
	if err != nil {
		return err
	}
	return eventlog.Record(s.events, tx, bus.TokenIssued, p.fact(p.issued))
}

// strike stores a revocation with its event, once.
func (s *Service) strike(tx *sqlite.Tx, p *pass, at time.Time) error {
	done, err := tx.Exec(`UPDATE gateway_tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL`, at, p.id)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return err
	}
	return eventlog.Record(s.events, tx, bus.TokenRevoked, p.fact(at))
}
