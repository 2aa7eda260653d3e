// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/anthropic"
	"github.com/blufio/blufio/services/agent/llm/offline"
	"github.com/blufio/blufio/services/agent/llm/openai"
	"github.com/blufio/blufio/services/config"
)

// maxProviders bounds agent.provider.
const maxProviders = 8

// How the models of [heartbeat] and [extract] stand among the tiers.
const (
	heartbeatTier = "heartbeat"
	extractTier   = "extract"
)

// maker is one provider that the configuration may name.
type maker struct {
	name  string
	model string // its default, "" for none
	key   config.Secret
	needs bool // the server answers nobody without a key
	make  func() (llm.Provider, error)
}

// makers are all there are.
func (c Config) makers() []maker {
	all := []maker{{name: offline.Name, model: offline.Name, make: func() (llm.Provider, error) {
		return offline.Provider{Fallback: len(c.Agent.Provider) > 1}, nil
	}}}
	all = append(all, maker{name: anthropic.Name, model: anthropic.DefaultModel, key: c.Anthropic.APIKey, needs: c.Anthropic.KeyNeeded(),
		make: func() (llm.Provider, error) { return anthropic.New(c.Anthropic, anthropic.Deps{}) }})
	for _, s := range []struct {
		name string
		cfg  openai.Config
	}{{openai.Name, c.OpenAI}, {"ollama", c.Ollama}, {"openrouter", c.OpenRouter}, {"groq", c.Groq}} {
		all = append(all, maker{name: s.name, model: s.cfg.DefaultModel(), key: s.cfg.APIKey, needs: s.cfg.KeyNeeded(),
			make: func() (llm.Provider, error) { return openai.New(s.cfg, openai.Deps{}) }})
	}
	return all
}

// entry is a model that the configuration names, "provider" or "provider/model".
type entry struct {
	key   string // where it is named
	maker maker
	model string
}

// entries reads agent.provider and [routing]. What is wrong is reported and left
// out. The model of agent.model goes to the first entry of the list without one.
func (c Config) entries(report func(key, message, hint string)) (list []entry, tiers map[string]entry) {
	given := c.Agent.Model
	for _, text := range c.Agent.Provider {
		e, ok := c.entry("agent.provider", text, &given, report)
		if !ok {
			continue
		}
		if slices.ContainsFunc(list, func(o entry) bool { return o.maker.name == e.maker.name && o.model == e.model }) {
			report(e.key, fmt.Sprintf("%s/%s is there twice", e.maker.name, e.model), "asking again is the provider's own business; name another one")
			continue
		}
		list = append(list, e)
	}
	tiers = map[string]entry{}
	for _, t := range []struct{ name, text string }{{"simple", c.Routing.Simple}, {"standard", c.Routing.Standard}, {"complex", c.Routing.Complex}, {heartbeatTier, c.Heartbeat.Model}, {extractTier, c.Extract.Model}} {
		if t.text == "" {
			continue
		}
		key := "routing." + t.name
		if t.name == heartbeatTier || t.name == extractTier {
			key = t.name + ".model"
		}
		if e, ok := c.entry(key, t.text, new(string), report); ok {
			tiers[t.name] = e
		}
	}
	return list, tiers
}

// entry reads one. It takes the model given, if it names none itself.
func (c Config) entry(key, text string, given *string, report func(key, message, hint string)) (entry, bool) {
	name, model, named := strings.Cut(text, "/")
	makers := c.makers()
	i := slices.IndexFunc(makers, func(m maker) bool { return m.name == name })
	if i < 0 {
		report(key, fmt.Sprintf("there is no provider %q", name), providerHint(name, makers))
		return entry{}, false
	}
	m := makers[i]
	switch {
	case named && strings.TrimSpace(model) == "":
		report(key, fmt.Sprintf("%q names no model behind its /", text), "")
		return entry{}, false
	case named:
	case *given != "" && name != offline.Name:
		model, *given = *given, ""
	case m.model == "":
		report(key, fmt.Sprintf("%s has no default model", name), fmt.Sprintf("write it as %q, or set agent.model", name+"/MODEL"))
		return entry{}, false
	default:
		model = m.model
	}
	return entry{key: key, maker: m, model: model}, true
}

func providerHint(name string, makers []maker) string {
	var known []string
	for _, m := range makers {
		known = append(known, m.name)
	}
	if near := config.Nearest(name, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "known are " + strings.Join(known, ", ") + `; a model is written behind its provider, as "openai/MODEL"`
}

// Check reports what no section can know alone.
func (c Config) Check(report func(key, message, hint string)) {
	if n := len(c.Agent.Provider); n == 0 || n > maxProviders {
		report("agent.provider", fmt.Sprintf("it has %d entries, and needs 1 to %d", n, maxProviders), `"offline" is the one without a model`)
	}
	c.checkBytes(report)
	c.checkNode(report)
	c.apart("", report)
	c.People.Check(func(key, message, hint string) { report(strings.TrimSuffix("people."+key, "."), message, hint) })
	for _, e := range c.named(report) {
		c.checkPrice(e, report)
	}
}

// named are all models that the configuration names.
func (c Config) named(report func(key, message, hint string)) []entry {
	all, tiers := c.entries(report)
	for _, name := range []string{"simple", "standard", "complex", heartbeatTier, extractTier} {
		if e, ok := tiers[name]; ok {
			all = append(all, e)
		}
	}
	return all
}

// checkPrice reports a model that would never be called, for nobody knows what it
// costs: better told at the start than with every message.
func (c Config) checkPrice(e entry, report func(key, message, hint string)) {
	var unknown *bus.Error
	if err := c.Cost.CheckPrice(e.model); errors.As(err, &unknown) {
		report(e.key, unknown.Message, unknown.Hint)
	}
}

// models makes the configured models; those of one provider share it.
func (c Config) models() (agent.Models, error) {
	var first error
	list, tiers := c.entries(func(key, message, _ string) {
		if first == nil {
			first = fmt.Errorf("%s: %s", key, message)
		}
	})
	made := map[string]llm.Provider{}
	model := func(e entry) agent.Model {
		if made[e.maker.name] == nil {
			p, err := e.maker.make()
			if err != nil && first == nil {
				first = err
			}
			made[e.maker.name] = p
		}
		return agent.Model{Provider: made[e.maker.name], Name: e.model}
	}
	var out agent.Models
	for _, e := range list {
		out.List = append(out.List, model(e))
	}
	for name, at := range map[string]**agent.Model{"simple": &out.Simple, "standard": &out.Standard, "complex": &out.Complex, heartbeatTier: &out.Heartbeat, extractTier: &out.Extract} {
		if e, ok := tiers[name]; ok {
			m := model(e)
			*at = &m
		}
	}
	return out, first
}

// Useless are warnings about what is set and has no effect: variables that are no key, and
// work for a model where there is none.
func Useless(c Config, loaded *config.Loaded) config.Problems {
	warnings := loaded.Useless()
	first := ""
	if len(c.Agent.Provider) > 0 {
		first = c.Agent.Provider[0]
	}
	for _, w := range []struct {
		key, model string
		wanted     bool
	}{{"heartbeat.every", c.Heartbeat.Model, c.Heartbeat.Every > 0}, {"extract.enable", c.Extract.Model, c.Extract.Enable}} {
		if !w.wanted || cmp.Or(w.model, c.Routing.Simple, first) != offline.Name {
			continue
		}
		section, _, _ := strings.Cut(w.key, ".")
		warnings = append(warnings, config.Problem{Key: w.key, Origin: loaded.Origin(w.key),
			Message: fmt.Sprintf("%q has no effect: there is no model to ask", w.key), Hint: "set agent.provider or " + section + ".model"})
	}
	return warnings
}
