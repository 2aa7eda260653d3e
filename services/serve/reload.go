// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
)

// reloader reads the configuration again while the daemon runs. What the struct's tags
// call live goes to the rooms, all of it or nothing; the rest waits for a restart.
type reloader struct {
	o     Options
	rooms *rooms
	level *leveler
	names func() []string // of the vault's secrets

	mu   sync.Mutex
	cfg  Config         // in force, its secrets bound to the vault
	last *config.Loaded // that was read last and valid
}

// call is what the control room reads the configuration again with, nil where nobody
// knows where it came from.
func (r *reloader) call() func(context.Context) (bus.Reloaded, error) {
	if r.o.Loaded == nil {
		return nil
	}
	return r.reload
}

// latest is the configuration that was read last and is valid.
func (r *reloader) latest() *config.Loaded {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// reload answers for both, the call and the signal.
func (r *reloader) reload(context.Context) (bus.Reloaded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.o.supervisor.reloading()()
	next, now, err := Load(r.o.Sources)
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		return bus.Reloaded{}, err
	}
	problems = append(problems, MissingKeys(next, now, r.names())...)
	for _, s := range next.secrets() { // whoever logs it, or is told of it
		learn(r.o.Redactor, s.Key, s.Secret, r.o.Logger)
	}
	if len(problems) == 0 {
		if problems, err = r.take(next, now); err != nil {
			return bus.Reloaded{}, err
		}
	}
	if len(problems) > 0 {
		return refused(problems), nil
	}
	out := told(r.waiting(now))
	r.last = now
	return out, nil
}

// take gives the rooms what is live of next. Together with what stays as it is, it must
// be valid too.
func (r *reloader) take(next Config, now *config.Loaded) (config.Problems, error) {
	cfg := r.cfg
	if err := config.TakeLive(&cfg, &next); err != nil {
		return nil, err
	}
	problems, err := config.Check(&cfg, now)
	if len(problems) > 0 || err != nil {
		for i := range problems {
			problems[i].Message += ", with what needs a restart to change"
		}
		return problems, err
	}
	takes, problems := r.rooms.reconfigure(cfg)
	if len(problems) > 0 {
		return problems, nil
	}
	for _, take := range takes {
		take()
	}
	r.level.configure(cfg.Log.Level)
	r.cfg = cfg
	return nil, nil
}

// reconfigure asks every room that can to prepare for another configuration. Nothing
// has changed before the functions are called.
func (r *rooms) reconfigure(c Config) (takes []func(), problems config.Problems) {
	ask := func(section string) func(take func(), err error) {
		return func(take func(), err error) {
			if err != nil {
				problems = append(problems, config.Problem{Key: section, Origin: config.Origin{Source: config.FromDefault}, Message: err.Error()})
			}
			takes = append(takes, take)
		}
	}
	ask("agent")(r.agent.Reconfigure(c.Agent, c.Bus.EventsText))
	ask("tools")(r.tools.Reconfigure(c.Tools))
	ask("telegram")(r.telegram.Reconfigure(c.Telegram))
	ask("gateway")(r.gateway.Reconfigure(c.Gateway))
	ask("cost")(r.cost.Reconfigure(c.Cost))
	ask("hooks")(r.hooks.Reconfigure(c.Hooks))
	ask("recall")(r.recall.Reconfigure(c.Recall))
	ask("memory")(r.governor.Reconfigure(c.Memory))
	return takes, problems
}

// waiting lists what is not in force of what the sources say now: what a reload would
// change, and what only a restart does. r.mu is held.
func (r *reloader) waiting(now *config.Loaded) (reload, restart []string) {
	reload, restart = []string{}, []string{}
	for _, key := range config.Differences(r.last, now) {
		if now.IsLive(key) {
			reload = append(reload, key)
		}
	}
	vaulted := r.names()
	for _, key := range config.Differences(r.o.Loaded, now) {
		if !now.IsLive(key) && !(slices.Contains(vaulted, key) && !pinned(r.o.Loaded, key) && !pinned(now, key)) {
			restart = append(restart, key)
		}
	}
	return reload, restart
}

// pinned reports whether what a source has of a secret counts more than the vault.
func pinned(l *config.Loaded, key string) bool {
	from := l.Origin(key).Source
	return from == config.FromEnv || from == config.FromFlag
}

// told is the answer to a reload that was made.
func told(changed, restart []string) bus.Reloaded {
	out := bus.Reloaded{Changed: changed, Restart: restart, Problems: []bus.ConfigProblem{}}
	for _, list := range []*[]string{&out.Changed, &out.Restart} {
		if more := len(*list) - bus.MaxReloadKeys; more > 0 {
			out.More += more
			*list = slices.Clip((*list)[:bus.MaxReloadKeys])
		}
	}
	return out
}

func refused(problems config.Problems) bus.Reloaded {
	out := bus.Reloaded{Changed: []string{}, Restart: []string{}, Problems: []bus.ConfigProblem{}}
	for _, p := range problems {
		out.Problems = append(out.Problems, bus.ConfigProblem{Key: p.Key, Source: p.Origin.Source, Name: p.Origin.Name,
			Line: p.Origin.Line, Column: p.Origin.Column, Message: p.Message, Hint: p.Hint})
	}
	return out
}
