// SPDX-License-Identifier: MIT OR Apache-2.0

package keys

import (
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/nats-io/nkeys"
)

const (
	maxPatterns = 16
	maxPattern  = 200 // bytes
	maxSeconds  = 10 * 365 * 24 * 60 * 60
)

// make checks a request and makes a key of it.
func (s *Service) make(q bus.KeyRequest, now time.Time) (record, error) {
	k := embedded.Key{Public: q.PublicKey, Name: q.Name, Role: q.Role, Inbox: rand.Text()}
	var err error
	switch {
	case !bus.ValidName(q.Name):
		return record{}, refuse("the name %.80q cannot be used", q.Name).WithHint(bus.NameRule)
	case !slices.Contains(bus.Roles(), q.Role):
		return record{}, refuse("there is no role %.80q", q.Role).WithHint("use one of: %s", strings.Join(bus.Roles(), ", "))
	case !nkeys.IsValidPublicUserKey(q.PublicKey):
		return record{}, refuse("%.80q is not the public key of a NATS user", q.PublicKey).WithHint("it begins with U and has 56 characters")
	case q.PublicKey == s.d.Bus.Device().PublicKey():
		return record{}, refuse("that is the device key itself").WithHint("make a key of its own for everyone")
	case q.Seconds < 0 || q.Seconds > maxSeconds:
		return record{}, refuse("a key cannot be valid for that long: %d seconds", q.Seconds).WithHint("use at most ten years; a key without an end holds until it is revoked")
	}
	if err = checkRole(q); err != nil {
		return record{}, err
	}
	if q.Role == bus.RoleTool && slices.Contains(s.d.Tools, q.Name) {
		return record{}, refuse("%s is a tool of the agent itself", q.Name).WithHint("give yours another name")
	}
	if k.AllowSub, err = each(q.AllowSub, hearable); err != nil {
		return record{}, err
	}
	if k.AllowPub, err = each(q.AllowPub, callable); err != nil {
		return record{}, err
	}
	if q.Seconds > 0 {
		k.Expires = now.Add(time.Duration(q.Seconds) * time.Second).Truncate(time.Millisecond)
	}
	return record{Key: k, state: bus.KeyLives, issued: now}, nil
}

func refuse(format string, args ...any) *bus.Error {
	return bus.Errorf(bus.CodeInvalid, format, args...)
}

// checkRole refuses what does not go together.
func checkRole(q bus.KeyRequest) error {
	lists := len(q.AllowSub) + len(q.AllowPub)
	switch {
	case lists > maxPatterns:
		return refuse("a key takes at most %d subjects", maxPatterns).WithHint("use a pattern, such as evt.turn.*")
	case q.Role == bus.RoleOperator && lists > 0:
		return refuse("an operator may do everything: there is nothing to allow").WithHint("use the role %s for what is listed and nothing else", bus.RoleExplicit)
	case q.Role == bus.RoleExplicit && lists == 0:
		return refuse("the role %s may do only what is listed, and nothing is", q.Role).WithHint("list subjects with --allow-sub and --allow-pub")
	case q.Role == bus.RoleChannel && slices.Contains(bus.MessageSend.Spec().Heard, q.Name):
		return refuse("%s is a channel of the daemon itself", q.Name).WithHint("give yours another name")
	}
	return nil
}

// each checks and completes every pattern.
func each(patterns []string, check func(string) error) ([]string, error) {
	var full []string
	for _, p := range patterns {
		p = bus.Prefix + strings.TrimPrefix(p, bus.Prefix)
		if !isPattern(p) {
			return nil, refuse("%.80q is not a subject", p).WithHint("write it like evt.turn.completed, evt.turn.* or evt.budget.>")
		}
		if err := check(p); err != nil {
			return nil, err
		}
		if !slices.Contains(full, p) {
			full = append(full, p)
		}
	}
	return full, nil
}

func isPattern(p string) bool {
	words := strings.Split(p, ".")
	for i, word := range words {
		if word != "*" && (word != ">" || i < len(words)-1) && !bus.ValidToken(word) {
			return false
		}
	}
	return len(p) <= maxPattern
}

// hearable refuses a pattern that no key may listen on, or that nothing is said on.
func hearable(p string) error {
	delta := bus.MessageDelta.Spec().Subject()
	switch {
	case bus.Covers(delta, p), len(bus.FactsOf(p)) > 0 && bus.Hearable(p):
		return nil
	case len(bus.FactsOf(p)) > 0, len(bus.Calls(p)) > 0:
		return bus.Errorf(bus.CodeInvalid, "a key may not listen on %s", short(p)).WithHint("it may hear facts (evt.>) and answers being made (msg.delta.*)")
	}
	return nothing(p, append(bus.FactsOf(bus.Facts), delta), hearable)
}

// callable refuses a pattern that no key may call, or that nobody answers.
func callable(p string) error {
	for _, l := range bus.Contract() {
		switch s := l.Spec(); {
		case s.Kind != bus.KindCall || !bus.Covers(p, s.Subject()):
		case bus.OperatorOnly(s):
			return bus.Errorf(bus.CodeInvalid, "%s is for operators only", s.Name).
				WithHint("calls about keys, tokens and secrets cannot be handed on; name the others one by one")
		case bus.ForChannels(s):
			return bus.Errorf(bus.CodeInvalid, "%s speaks for every channel, and cannot be handed on", s.Name).
				WithHint("use --role %s: such a key speaks for the channel of its own name", bus.RoleChannel)
		}
	}
	call, fact := matches(p, true), matches(p, false)
	switch {
	case len(bus.Calls(p)) > 0:
		return nil
	case call != nil:
		return bus.Errorf(bus.CodeInvalid, "%s is said by the daemon's own parts only", call.Name).WithHint("a key may be given: %s", calls())
	case fact != nil, bus.Covers(bus.Facts, p):
		return bus.Errorf(bus.CodeInvalid, "%s is no call", short(p)).WithHint("only the daemon itself states facts; --allow-sub lets a key hear them")
	}
	return nothing(p, append(bus.Calls(bus.Prefix+">"), operatorCalls()...), callable)
}

// matches is the first call, or the first event, that the pattern matches or that matches
// it; nil for none.
func matches(p string, call bool) *bus.Spec {
	for _, l := range bus.Contract() {
		if s := l.Spec(); call == (s.Kind == bus.KindCall) && (bus.Covers(p, s.Subject()) || bus.Covers(s.Subject(), p)) {
			return s
		}
	}
	return nil
}

// calls lists those that a key may be given.
func calls() string {
	var names []string
	for _, subject := range bus.Calls(bus.Prefix + ">") {
		names = append(names, short(subject))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func short(subject string) string { return strings.TrimPrefix(subject, bus.Prefix) }
