// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/serve"
)

// begin is the morning of the first day.
var begin = time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)

const (
	hits     = 5
	between  = time.Minute          // two messages of a day, and the fewest between two that the prompt cache bears
	untilAsk = 7 * 24 * time.Hour   // from the last message to the questions
	idle     = 5 * time.Millisecond // of the wall clock, for what the daemon does behind a turn
	mainly   = "main"               // the session of the conversation
)

// way is how the conversation is remembered.
type way struct {
	name   string
	change func(*serve.Config)
}

var ways = []way{
	{"ours", func(*serve.Config) {}},
	{"words alone (BM25)", func(c *serve.Config) { c.Recall.VectorsWeight = 0 }},
	{"vectors alone", func(c *serve.Config) { c.Recall.WordsWeight = 0 }},
}

// run is one conversation with one daemon.
type run struct {
	ctx    context.Context
	plan   plan
	models *fakellm.Vendors
	model  *model
	house  *house
	result result
}

// evaluate has the conversation and asks the questions.
func evaluate(ctx context.Context, p plan, w way) (res result, err error) {
	models, err := fakellm.Start("127.0.0.1:0")
	if err != nil {
		return res, err
	}
	defer models.Close()
	r := &run{ctx: ctx, plan: p, models: models, model: &model{}, result: newResult(w.name)}
	r.model.serve(models)
	models.Anthropic.Keep(kept)
	if r.house, err = open(ctx, models, w.change); err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, r.house.stop()) }()
	if err := r.talk(); err != nil {
		return res, err
	}
	r.result.summaries = r.model.summaries
	all := models.Anthropic.Requests()
	r.result.last = all[len(all)-1]
	if err := r.house.settle(ctx); err != nil {
		return res, err
	}
	r.house.clock.set(r.house.clock.read().Add(untilAsk))
	r.model.turn(turn{reply: "I looked."})
	for i, q := range p.questions {
		if err := r.ask(i, q); err != nil {
			return res, fmt.Errorf("question %q: %w", q.text, err)
		}
	}
	return r.result, nil
}

// kept is how many questions the fake remembers: those of one turn, with all that goes on beside it.
const kept = 64

// talk has the conversation.
func (r *run) talk() error {
	for i, t := range r.plan.turns {
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		r.house.clock.set(begin.Add(time.Duration(t.day)*24*time.Hour + time.Duration(i%perDay)*between))
		if i%perDay == 0 {
			r.models.Anthropic.Expire()
		}
		r.model.turn(t)
		before := r.models.Anthropic.Billed()
		if err := r.house.say(r.ctx, mainly, t.text); err != nil {
			return err
		}
		if err := pause(r.ctx, idle); err != nil {
			return err
		}
		r.result.turn(bills(r.models, before))
	}
	return nil
}

// bills are those since so many had been written.
func bills(models *fakellm.Vendors, before int) []fakellm.Bill {
	n := models.Anthropic.Billed() - before
	all := models.Anthropic.Bills()
	return all[len(all)-min(n, len(all)):]
}

// ask asks recall, then the agent in the long conversation and in a new one.
func (r *run) ask(i int, q question) error {
	found, err := bus.RecallSearch.Ask(r.ctx, r.house.conn, bus.RecallQuery{Owner: person, Text: q.text, Limit: hits})
	if err != nil {
		return err
	}
	s := scored{kind: q.kind}
	for _, h := range found.Hits {
		s.found = s.found || strings.Contains(h.Text, q.want)
	}
	for at, session := range []string{mainly, fmt.Sprintf("new-%d", i)} {
		if err := r.house.say(r.ctx, session, q.text); err != nil {
			return err
		}
		body, err := r.asked(q.text)
		if err != nil {
			return err
		}
		s.answerable[at], s.outdated[at] = judge(body, q)
	}
	r.result.questions = append(r.result.questions, s)
	return nil
}

// asked is the body of the latest request that asked this.
func (r *run) asked(text string) ([]byte, error) {
	all := r.models.Anthropic.Requests()
	for i := len(all) - 1; i >= 0; i-- {
		if q := all[i]; len(q.Tools) > 0 && len(q.Messages) > 0 {
			for _, b := range q.Messages[len(q.Messages)-1].Content {
				if strings.HasPrefix(b.Text, text) {
					return q.Body, nil
				}
			}
		}
	}
	return nil, errors.New("the model was not asked it")
}

// judge tells whether the right value is in what the model was given, and whether one that was right before is too.
func judge(body []byte, q question) (answerable, outdated bool) {
	for _, v := range q.old {
		outdated = outdated || bytes.Contains(body, []byte(v))
	}
	return bytes.Contains(body, []byte(q.want)), outdated
}
