// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/nats-io/nuid"
)

// complete asks the models of the turn's route, one after another, until one
// answers. That one goes first in the turn's later rounds. When all fail, the
// error is the first one's, and says that the others failed too.
//
// What does not go on to the next: a refusal, which is an answer; a ledger that
// does not work; and the end of the turn's time.
func (s *Service) complete(ctx context.Context, t *turn, round int, messages []llm.Message) (llm.Response, error) {
	history := len(messages) - 1 - 2*len(t.steps)
	switch {
	case t.route != nil:
	case t.purpose == purposeHeartbeat:
		t.route = []Model{s.models.heartbeat()}
	case t.purpose == purposeDoctor:
		t.route = []Model{withoutModel}
	default:
		t.route = s.routeFor(ctx, t, messages, history)
	}
	var first error
	for i, m := range t.route {
		answer, err := s.consult(ctx, t, round, m, len(t.route)-1-i, messages, history)
		if err == nil {
			t.route = slices.Concat(t.route[i:], t.route[:i])
			answer.Calls = portable(answer.Calls, t.steps)
			return answer, nil
		}
		if first == nil {
			first = err
		}
		var end final
		switch {
		case errors.As(err, &end), ctx.Err() != nil && i == 0:
			return llm.Response{}, err
		case ctx.Err() != nil:
			return llm.Response{}, together(first, i)
		}
		s.log.Warn("model failed", "service", "agent", "trace", t.id, "provider", m.Provider.Name(), "model", m.Name, "left", len(t.route)-1-i, "err", err)
	}
	return llm.Response{}, together(first, len(t.route)-1)
}

// final is an error behind which no other model is asked.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// together is the first model's error, told with how many others failed too.
func together(first error, others int) error {
	var e *bus.Error
	if others == 0 || !errors.As(first, &e) {
		return first
	}
	told := *e
	if others == 1 {
		told.Message += "; the other model failed too"
	} else {
		told.Message += fmt.Sprintf("; the %d other models failed too", others)
	}
	return &told
}

// maxTrims is how often a conversation is halved for a model that cannot read all
// of it, before the message goes alone.
const maxTrims = 3

// consult asks one model, within its share of the time. A conversation that is too
// long for it is trimmed, the oldest first and a summary last, and stays so for this turn and model.
func (s *Service) consult(ctx context.Context, t *turn, round int, m Model, behind int, messages []llm.Message, history int) (llm.Response, error) {
	share, cancel := withShare(ctx, behind)
	defer cancel()
	for trims := 0; ; trims++ {
		from := t.left(m)
		answer, err := s.ask(share, t, round, m, without(messages, history, t.lead, from))
		switch {
		case llm.IsTooLong(err) && from < history-t.lead:
			t.leave(m, from+trim(messages[t.lead+from:history], trims))
		case llm.IsTooLong(err) && from < history:
			t.leave(m, history)
		case err != nil && ctx.Err() == nil && share.Err() != nil:
			return answer, bus.Errorf(bus.CodeTimeout, "%s did not answer in the time it had", m.Provider.Name()).
				WithHint("agent.turn_timeout is the time for all models together")
		default:
			return answer, err
		}
	}
}

// without is a conversation that lacks so many messages of its history: the oldest, but
// the summary, its lead, last of all.
func without(messages []llm.Message, history, lead, left int) []llm.Message {
	switch {
	case left == 0:
		return messages
	case left >= history:
		return messages[history:]
	}
	return slices.Concat(messages[:lead], messages[min(lead+left, history):])
}

// withShare gives a candidate its part of the turn's time: each one behind it is
// left a quarter of what would be there without it.
func withShare(ctx context.Context, behind int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || behind == 0 {
		return context.WithCancel(ctx)
	}
	left := time.Until(deadline)
	for range behind {
		left -= left / 4
	}
	return context.WithTimeout(ctx, left)
}

// trim is how many of the history's messages to leave out so that at most half of
// it is left; all of them after maxTrims times. It leaves out at least one exchange.
func trim(history []llm.Message, trims int) int {
	if trims >= maxTrims {
		return len(history)
	}
	size := 0
	for _, m := range history {
		size += m.Size()
	}
	n, half := 0, size/2
	for n < len(history) && (n == 0 || n%2 == 1 || size > half) { // a question goes with its answer
		size -= history[n].Size()
		n++
	}
	return n
}

// left is how many of the oldest messages this model is not given.
func (t *turn) left(m Model) int { return t.trimmed[m.String()] }

func (t *turn) leave(m Model, n int) {
	if t.trimmed == nil {
		t.trimmed = map[string]int{}
	}
	t.trimmed[m.String()] = n
}

// ask asks a model once. The call is reserved before; what it used is settled
// with the turn's next commit, also when it failed.
func (s *Service) ask(ctx context.Context, t *turn, round int, m Model, messages []llm.Message) (llm.Response, error) {
	name := m.Provider.Name()
	b := s.breakers[name]
	trial, out, ok := b.admit()
	if !ok {
		return llm.Response{}, s.skipped(name, out)
	}
	said, why := silent, error(nil)
	defer func() { s.judged(name, b, trial, said, why) }() // also when the provider panics

	manner := s.manner.Load()
	req := llm.Request{Model: m.Name, System: manner.system, Messages: messages, Tools: s.specs, MaxTokens: manner.replyTokens}
	call := bus.ModelCall{ID: nuid.Next(), MessageID: t.id, Session: t.key.name, Provider: name, Model: m.Name, Purpose: s.purpose(t)}
	if round == s.cfg.MaxRounds {
		lastWord(&req)
	}
	estimate := s.estimate(manner, req)
	failpoint.Hit("reserve.ask")
	if err := s.reserve(ctx, call, s.meter.AtMost(m.String(), estimate), req.MaxTokens, t.limit(s)); err != nil {
		return llm.Response{}, err
	}
	failpoint.HitOn("reserve.granted", t.text)
	t.asked(m)
	live := s.newPartial(t, round)
	live.silent = t.purpose == purposeHeartbeat || t.purpose == purposeDoctor // nobody may hear of it in the end
	answer, err := m.Provider.Complete(ctx, req, live.add)
	failpoint.Hit("model.answered")
	t.used = append(t.used, bus.Settle{ModelCall: call, Usage: plausible(answer.Usage), Time: s.now()})
	said, why = judge(ctx, err, live.heard), err
	if err != nil {
		if live.said() {
			t.anew++
		}
		if llm.IsRefused(err) {
			err = final{err}
		}
		return llm.Response{}, err
	}
	live.flush()
	s.learn(m, estimate, req, answer)
	return answer, nil
}

// limit is what calls of the turn's purpose may cost in a month, 0 for no limit.
func (t *turn) limit(s *Service) bus.MicroUSD {
	if t.purpose == purposeHeartbeat {
		return bus.USD(s.heartbeat.MonthlyUSD)
	}
	return 0
}

// reserve asks the ledger for so many tokens of a question and of an answer. A model
// that may not be paid for leaves room for one that costs less; a ledger that does not
// answer is in the way of all.
func (s *Service) reserve(ctx context.Context, call bus.ModelCall, input, output int64, limit bus.MicroUSD) error {
	want := bus.Reserve{ModelCall: call, InputTokens: input, OutputTokens: output, PurposeLimit: limit}
	granted, err := bus.CostReserve.Ask(ctx, s.bus(), want)
	switch bus.CodeOf(err) {
	case "":
		if granted.Amount > 0 { // a free call does not say
			s.spent.note(granted.UsedPercent, s.now())
		}
		return nil
	case bus.CodeBudget:
		if want.PurposeLimit == 0 { // else it may be that one's
			s.spent.note(100, s.now())
		}
		return err
	case bus.CodePriceUnknown, bus.CodeStopped:
		return err
	}
	return final{err}
}

// asked notes who is asked: who was last, is who answered.
func (t *turn) asked(m Model) {
	t.calls++
	t.provider, t.model = m.Provider.Name(), m.Name
}

// judge is what a call's end says of the provider. heard tells whether any text
// came: one that speaks for longer than it may is not down.
func judge(ctx context.Context, err error, heard bool) verdict {
	var e *bus.Error
	switch {
	case err == nil:
		return answers
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		if heard {
			return silent
		}
		return fails
	case ctx.Err() != nil:
		return silent
	case bus.Retryable(err):
		return fails
	case errors.As(err, &e):
		return answers
	}
	return silent // a defect on our side
}

// judged passes a verdict on to the breaker, and tells what it changed. Without one there is
// no series of the provider either: it would look like one more that could be asked.
func (s *Service) judged(name string, b *breaker, trial bool, v verdict, why error) {
	if b == nil {
		return
	}
	if v == fails {
		s.metrics.providerFailures.WithLabelValues(name).Inc()
		s.metrics.providersFailed.Add(1)
	}
	changed, out := b.done(trial, v, why)
	now := s.now()
	switch changed {
	case wentDown:
		s.metrics.providerUp.WithLabelValues(name).Set(0)
		record(s, bus.ProviderDown, bus.ProviderDownFact{Time: now, Provider: name, Failures: out.failures,
			Error: bus.CodeOf(out.why), Since: out.since, Until: out.until})
	case cameUp:
		s.metrics.providerUp.WithLabelValues(name).Set(1)
		record(s, bus.ProviderUp, bus.ProviderUpFact{Time: now, Provider: name, DownMS: now.Sub(out.since).Milliseconds()})
	}
}

// record writes a fact that stands for itself, with the next commit.
func record[T any](s *Service, lane bus.Event[T], fact T) {
	warn := func(err error) {
		if err != nil {
			s.log.Warn("event not recorded", "service", "agent", "subject", lane.Spec().Name, "err", err)
		}
	}
	if err := s.store.WriteLazy(func(tx *sqlite.Tx) error { return eventlog.Record(s.events, tx, lane, fact) }, warn); err != nil {
		warn(err)
	}
}

// clockTime is how people are told a time of today.
const clockTime = "15:04:05 MST"

// skipped is why a provider that is down is not asked.
func (s *Service) skipped(name string, out outage) error {
	wait := out.until.Sub(s.now())
	e := bus.Errorf(bus.CodeUnavailable, "%s has not answered since %s and is asked again from %s on", name,
		out.since.Local().Format(clockTime), out.until.Local().Format(clockTime))
	if wait <= 0 {
		e.Message = fmt.Sprintf("%s has not answered since %s and is being tried again right now", name, out.since.Local().Format(clockTime))
		wait = time.Second
	}
	e.RetryAfter = wait
	return e.WithHint("then say it again; or name another provider behind it in agent.provider")
}

// portable gives calls ids that every vendor takes back with the results: letters,
// digits, - and _, and no two alike in a turn.
func portable(calls []llm.ToolCall, steps []step) []llm.ToolCall {
	seen := map[string]bool{}
	for _, st := range steps {
		for _, c := range st.Asked.Calls {
			seen[c.ID] = true
		}
	}
	out := slices.Clone(calls)
	for i, c := range out {
		if c.ID == "" || len(c.ID) > 64 || seen[c.ID] || strings.ContainsFunc(c.ID, strange) {
			out[i].ID = "call_" + nuid.Next()
		}
		seen[out[i].ID] = true
	}
	return out
}

func strange(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// maxUsage bounds each count of tokens that a provider may claim, so that the
// ledger can book it.
const maxUsage = 100_000_000

// plausible keeps nonsense of a provider from being refused by the ledger for ever.
func plausible(u bus.Usage) bus.Usage {
	clamp := func(n int64) int64 { return min(max(n, 0), maxUsage) }
	return bus.Usage{Input: clamp(u.Input), Output: clamp(u.Output), CacheRead: clamp(u.CacheRead), CacheWrite: clamp(u.CacheWrite)}
}
