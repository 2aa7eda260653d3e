// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/offline"
	"github.com/blufio/blufio/services/agent/llm/wire"
)

// purposeDoctor is what doctor's messages are booked as. They are answered by who is
// always there and asks for nothing, also where the configuration does not name it.
const purposeDoctor = "doctor"

var withoutModel = Model{Provider: offline.Provider{Fallback: true}, Name: offline.Name}

// purposeIn is what a message's model calls are booked as, by where it comes from.
func purposeIn(channel string) string {
	if channel == bus.DoctorChannel {
		return purposeDoctor
	}
	return "turn"
}

// waitsLong is when a message or a reply has waited for so long that it is worth a word.
const waitsLong = 10 * time.Minute

// Probes are the room's checks. Those of no Service can be listed, not run.
func Probes(s *Service) []services.Probe {
	if s == nil {
		s = new(Service)
	}
	return append(ModelProbes(s.models, s.evidence, s.now), services.Probe{
		ID: "BLF-QUEUE-001", Title: "Messages do not wait for long",
		Why: "who has written waits for an answer", Fix: "see whether the model answers, and whether agent.max_turns is too low",
		Problems: []string{"inbox_full"},
		Run:      s.probeInbox,
	}, services.Probe{
		ID: "BLF-QUEUE-002", Title: "Replies are delivered",
		Why: "an answer that is stored and not delivered is of no use to anybody", Fix: "see the channels' errors in `blufio status`; replies are tried again by themselves",
		Problems: []string{"outbox_full"},
		Run:      s.probeOutbox,
	}, services.Probe{
		ID: "BLF-QUEUE-003", Title: "Nothing was given up",
		Why: "nobody takes a dead letter up again by itself", Fix: "`blufio queue list` shows them, `blufio queue retry` takes them up, `blufio queue drop` deletes them",
		Run: s.probeDead,
	})
}

// longest counts rows and tells how long the oldest has been there.
func (s *Service) longest(ctx context.Context, query string) (n int64, age time.Duration, err error) {
	var at int64
	if err = s.store.QueryRow(ctx, query).Scan(&n, &at); err != nil || n == 0 {
		return n, 0, err
	}
	return n, s.now().Sub(time.UnixMilli(at)), nil
}

func (s *Service) probeInbox(ctx context.Context) services.Result {
	n, age, err := s.longest(ctx, `SELECT count(*), coalesce(min(received_at), 0) FROM message WHERE state IN ('queued', 'running')`)
	return judgeQueue("messages", n, s.cfg.MaxQueue, "agent.max_queue", age, max(waitsLong, 2*s.cfg.TurnTimeout), err)
}

func (s *Service) probeOutbox(ctx context.Context) services.Result {
	n, age, err := s.longest(ctx, `SELECT count(*), coalesce(min(created_at), 0) FROM outbox WHERE state = 'pending'`)
	return judgeQueue("replies", n, s.cfg.MaxOutbox, "agent.max_outbox", age, waitsLong, err)
}

// judgeQueue judges a queue by its length and the age of what is oldest in it.
func judgeQueue(what string, n int64, most int, bound string, age, long time.Duration, err error) services.Result {
	seen := fmt.Sprintf("%d of at most %d %s wait, the oldest for %s", n, most, what, span(age))
	switch {
	case err != nil:
		return services.Fail("the queue cannot be read: %v", err)
	case n == 0:
		return services.OK("none waits")
	case n >= int64(most):
		return services.Fail("%s; new messages are refused", seen).WithFix("%s is the bound; see why they are not worked off", bound)
	case age > long, n*10 >= int64(most)*8:
		return services.Warn("%s", seen)
	}
	return services.OK("%s", seen)
}

// span is a time for people.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d seconds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func (s *Service) probeDead(ctx context.Context) services.Result {
	messages, old, err := s.longest(ctx, `SELECT count(*), coalesce(min(received_at), 0) FROM message WHERE state = 'dead'`)
	if err != nil {
		return services.Fail("dead letters cannot be counted: %v", err)
	}
	replies, older, err := s.longest(ctx, `SELECT count(*), coalesce(min(created_at), 0) FROM outbox WHERE state = 'dead'`)
	switch {
	case err != nil:
		return services.Fail("dead letters cannot be counted: %v", err)
	case messages+replies > 0:
		return services.Warn("dead letters: messages %d, replies %d; the oldest is %s old", messages, replies, span(max(old, older)))
	}
	return services.OK("there is no dead letter")
}

// evidence is what calls have shown of a provider: that it is left out, or turns us away.
func (s *Service) evidence(provider string) (bus.Problem, bool) {
	b := s.breakers[provider]
	if b == nil {
		return bus.Problem{}, false
	}
	return b.problem(provider, s.now().Location())
}

// ModelProbes are the checks of the models' providers. known is what calls have shown
// of one, and false without a daemon.
func ModelProbes(models Models, known func(provider string) (bus.Problem, bool), now func() time.Time) []services.Probe {
	l := &lookout{models: models.all(), known: known, now: now}
	return []services.Probe{{
		ID: "BLF-LLM-001", Title: "The models' providers answer and take their keys", Place: services.Either,
		Why:      "without a model there is no answer; this question costs nothing",
		Fix:      "check the provider's section of the configuration, and the network",
		Problems: []string{"provider_down", "provider_denied"},
		Run:      l.reached,
	}, {
		ID: "BLF-LLM-002", Title: "The configured models are on offer", Place: services.Either,
		Why: "a model that the provider does not have answers nobody",
		Fix: "set agent.model, or the entry in agent.provider, to a model that it offers",
		Run: l.offered,
	}, {
		ID: "BLF-SYS-001", Title: "The clock agrees with the provider's", Place: services.Either,
		Why: "days and months of the budget, tokens and certificates go by the clock",
		Fix: "switch on time synchronisation: timedatectl set-ntp true",
		Run: l.clock,
	}}
}

// lookout looks at providers.
type lookout struct {
	models []Model
	known  func(string) (bus.Problem, bool)
	now    func() time.Time
}

// sight is one look at one provider.
type sight struct {
	llm.Sight
	name  string
	first bool // it is asked first
	err   error
	at    time.Time // on our clock
}

// look looks at every provider that can be looked at, side by side.
func (l *lookout) look(ctx context.Context) []sight {
	var all []sight
	var lookers []llm.Looker
	for i, m := range l.models {
		looker, ok := m.Provider.(llm.Looker)
		if ok && !slices.ContainsFunc(all, func(s sight) bool { return s.name == m.Provider.Name() }) {
			all, lookers = append(all, sight{name: m.Provider.Name(), first: i == 0}), append(lookers, looker)
		}
	}
	var looking sync.WaitGroup
	for i := range all {
		looking.Go(func() {
			all[i].Sight, all[i].err = lookers[i].Look(ctx)
			all[i].at = l.now()
		})
	}
	looking.Wait()
	return all
}

func (l *lookout) reached(ctx context.Context) services.Result {
	all := l.look(ctx)
	if len(all) == 0 {
		return services.Skip("no model is configured: the agent answers without one")
	}
	var parts []string
	worst := services.Skip("")
	for _, s := range all {
		r := l.judge(s)
		parts = append(parts, s.name+": "+r.Seen)
		if severity(r.Level) > severity(worst.Level) {
			worst.Level, worst.Fix = r.Level, r.Fix
		}
	}
	worst.Seen = strings.Join(parts, "; ")
	return worst
}

func severity(level string) int {
	return slices.Index([]string{bus.LevelSkip, bus.LevelOK, bus.LevelInfo, bus.LevelWarn, bus.LevelFail}, level)
}

// judge tells what has to be mended from what passes: too many questions, an
// overloaded or slow server.
func (l *lookout) judge(s sight) services.Result {
	problem, bad := bus.Problem{}, false
	if l.known != nil {
		problem, bad = l.known(s.name)
	}
	var slow *wire.SlowError
	var e *bus.Error
	switch {
	case errors.As(s.err, new(*wire.KeyError)):
		return services.Skip("its key cannot be had: see BLF-VLT-001")
	case errors.As(s.err, &slow):
		return services.Warn("%v", slow).WithFix("--timeout 10s waits longer; if it stays slow, a provider behind it in agent.provider answers meanwhile")
	case errors.As(s.err, &e) && s.Took > 0 && bus.Retryable(e):
		return services.Warn("%s", e.Message).WithFix("wait; it is tried again by itself, and a provider behind it in agent.provider answers meanwhile")
	case errors.As(s.err, &e):
		return services.Fail("%s", e.Message).WithFix("%s", e.Hint)
	case s.err != nil:
		return services.Fail("%v", s.err)
	case bad && problem.Code == "provider_denied":
		return services.Fail("%s", problem.Title).WithFix("%s", problem.Hint)
	case bad:
		return services.Warn("%s answers now; %s", s.Host, problem.Title).WithFix("%s", problem.Hint)
	case s.Note != "":
		return services.OK("%s answered in %d ms; %s", s.Host, s.Took.Milliseconds(), s.Note)
	}
	return services.OK("%s answered in %d ms and takes the key", s.Host, s.Took.Milliseconds())
}

// offered looks for the configured models among those on offer. An alias of a vendor's
// is the beginning of a longer name.
func (l *lookout) offered(ctx context.Context) services.Result {
	all := l.look(ctx)
	if len(all) == 0 {
		return services.Skip("no model is configured")
	}
	var there, missing []string
	for _, m := range l.models {
		i := slices.IndexFunc(all, func(s sight) bool { return s.name == m.Provider.Name() && len(s.Models) > 0 })
		if i < 0 {
			continue
		}
		name := m.Provider.Name() + "/" + m.Name
		if slices.ContainsFunc(all[i].Models, func(id string) bool {
			return id == m.Name || strings.HasPrefix(id, m.Name+"-") || strings.HasPrefix(id, m.Name+":")
		}) {
			there = append(there, name)
		} else {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) > 0:
		return services.Warn("not among the models on offer: %s", strings.Join(missing, ", "))
	case len(there) == 0:
		return services.Skip("no provider told what it offers")
	}
	return services.OK("%s", strings.Join(there, ", "))
}

// Differences of two clocks that are worth a word, and that break things.
const (
	clockOff   = 30 * time.Second
	clockWrong = 5 * time.Minute
)

func (l *lookout) clock(ctx context.Context) services.Result {
	for _, s := range l.look(ctx) {
		if s.Date.IsZero() {
			continue
		}
		off := s.at.Sub(s.Date).Round(time.Second)
		ahead := "ahead of"
		if off < 0 {
			off, ahead = -off, "behind"
		}
		switch {
		case off >= clockWrong:
			return services.Fail("this clock is %s %s that of %s", off, ahead, s.Host)
		case off >= clockOff:
			return services.Warn("this clock is %s %s that of %s", off, ahead, s.Host)
		}
		return services.OK("within %s of %s", max(off, time.Second), s.Host)
	}
	return services.Skip("no provider told its time")
}
