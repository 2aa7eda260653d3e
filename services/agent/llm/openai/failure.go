// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"net/http"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/wire"
)

// Refused implements [wire.Answer]. Some servers refuse with a status of 200.
func (a *answer) Refused(status int, body []byte) error {
	e := readError(body)
	if status == 0 && !e.known() {
		return nil
	}
	return a.p.explain(status, e, a.asked)
}

// Verdict refuses an answer that came whole and yet is none.
func (a *answer) Verdict() error {
	switch c := a.p.c; {
	case a.finish == finishFilter:
		return a.p.filtered()
	case a.finish == finishError:
		return bus.Errorf(bus.CodeUnavailable, "%s ended its answer with an error", c.Host)
	case a.Empty() && a.refusal.Len() > 0:
		return c.Refused(a.refusal.String())
	case a.Empty() && a.finish == finishLength:
		return c.OnlyThought(a.asked)
	case a.Empty():
		return c.Empty(a.asked)
	}
	return a.Named(a.asked)
}

func (p *Provider) filtered() error {
	return llm.Refused(bus.Errorf(bus.CodeInvalid, "the content filter of %s stopped the answer", p.c.Host).WithHint("say it differently, or use another model"))
}

// explain says what a status and an error of the server's mean; status 0 is an
// error within a stream.
func (p *Provider) explain(status int, e *apiError, model string) error {
	shown := wire.Shown(status)
	if status == 0 {
		status = e.status()
	}
	switch {
	case e.is("context_length_exceeded") || status != http.StatusTooManyRequests && e.says("context length", "context window", "context size", "prompt is too long", "reduce the length"):
		return p.c.TooLong(model)
	case e.is("content_filter", "content_policy_violation") || status == http.StatusForbidden && e.says("moderation", "flagged"): // the latter are OpenRouter's
		return p.filtered()
	case e.is("insufficient_quota"):
		return p.c.NoCredit()
	case e.is("model_not_found") || (status == 404 || status == 400) && e.says("model") && e.says("not found", "not exist", "not a valid model"):
		return p.c.NoModel(model)
	}
	return p.c.Status(status, shown, e.Message)
}
