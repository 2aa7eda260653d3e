// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"unicode"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/outbound"
)

// Hints that more than one failure gives.
const (
	hintModel = "set agent.model, or the entry in agent.provider, to a model that it offers"
	hintLong  = "/new begins a new conversation; agent.history_tokens bounds what goes along"
)

// hint returns e with a hint in which $ stands for the section's name.
func (p *Provider) hint(e *bus.Error, hint string) *bus.Error {
	return e.WithHint("%s", strings.ReplaceAll(hint, "$", p.cfg.name()))
}

// hintURL is for an address that leads to something else.
const hintURL = "check $.base_url; it usually ends with /v1"

// unreached explains why there is no HTTP answer. Go's own errors are not passed
// on: they name whole URLs.
func (p *Provider) unreached(err error) *bus.Error {
	var plain *outbound.PlaintextError
	var redirect *outbound.RedirectError
	var silent *outbound.SilentError
	var untrusted *tls.CertificateVerificationError
	var name *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &plain):
		return bus.Errorf(bus.CodeInvalid, "%s", plain.Error()).WithHint("%s", plain.Hint())
	case errors.As(err, &redirect):
		return p.hint(bus.Errorf(bus.CodeInvalid, "%s pointed elsewhere: %s", p.host, redirect.Error()), hintURL)
	case errors.As(err, &silent):
		return p.hint(bus.Errorf(bus.CodeUnavailable, "%s gave no answer for %s", p.host, silent.After), "$.timeout sets how long to wait")
	case errors.As(err, &untrusted):
		return p.hint(bus.Errorf(bus.CodeInvalid, "the certificate of %s is not trusted", p.host), "check $.base_url, and the machine's clock and certificates")
	case errors.Is(err, http.ErrSchemeMismatch):
		return p.hint(bus.Errorf(bus.CodeInvalid, "%s does not speak https", p.host), "check $.base_url; does it begin with http://?")
	case errors.As(err, &name):
		return p.hint(bus.Errorf(bus.CodeUnavailable, "the address of %s was not found", p.host), "check the network, and $.base_url")
	case errors.Is(err, syscall.ECONNREFUSED):
		return p.hint(bus.Errorf(bus.CodeUnavailable, "nothing answers at %s", p.host), "check that the model's server runs, and $.base_url")
	case errors.As(err, &timeout) && timeout.Timeout():
		return p.hint(bus.Errorf(bus.CodeUnavailable, "%s cannot be reached in time", p.host), "check the network, and $.base_url")
	}
	return p.hint(bus.Errorf(bus.CodeUnavailable, "the connection to %s broke", p.host), "check the network, and $.base_url")
}

// broken explains why a begun answer did not come to its end.
func (p *Provider) broken(err error, model string) error {
	var inside streamError
	var silent *outbound.SilentError
	var large *outbound.TooLargeError
	switch {
	case errors.As(err, &inside):
		return p.explain(0, inside.apiError, model)
	case errors.As(err, &silent):
		return p.hint(bus.Errorf(bus.CodeUnavailable, "%s fell silent for %s within its answer", p.host, silent.After), "$.timeout sets how long to wait")
	case errors.Is(err, errMalformed), errors.As(err, &large):
		return p.notUnderstood(err.Error())
	}
	return bus.Errorf(bus.CodeUnavailable, "the answer of %s broke off", p.host)
}

// notUnderstood is an answer that is not on the wire's format.
func (p *Provider) notUnderstood(why string) *bus.Error {
	return p.hint(bus.Errorf(bus.CodeInternal, "%s does not answer as Chat Completions do: %s", p.host, why), hintURL)
}

// verdict refuses an answer that came whole and yet is none.
func (p *Provider) verdict(a *answer, model string) error {
	empty := a.text.Len() == 0 && len(a.calls) == 0
	switch {
	case a.finish == finishFilter:
		return p.filtered()
	case a.finish == finishError:
		return bus.Errorf(bus.CodeUnavailable, "%s ended its answer with an error", p.host)
	case empty && a.refusal.Len() > 0:
		return llm.Refused(bus.Errorf(bus.CodeInvalid, "the model refused: %s", p.oneLine(a.refusal.String())))
	case empty && a.finish == finishLength:
		return bus.Errorf(bus.CodeInvalid, "model %s used up its answer on thinking and said nothing", model).WithHint("raise agent.max_reply_tokens, or use a model that thinks less")
	case empty:
		return bus.Errorf(bus.CodeUnavailable, "model %s gave an empty answer", model).WithHint("say it again, or differently")
	}
	for _, c := range a.calls {
		if c.name == "" {
			return bus.Errorf(bus.CodeInternal, "model %s called a tool without naming it", model)
		}
	}
	return nil
}

func (p *Provider) filtered() error {
	return llm.Refused(bus.Errorf(bus.CodeInvalid, "the content filter of %s stopped the answer", p.host).WithHint("say it differently, or use another model"))
}

// refused explains an answer of another status than 200.
func (p *Provider) refused(resp *http.Response, model string) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrors))
	if err != nil {
		data = nil // the status alone tells enough
	}
	why := p.explain(resp.StatusCode, readError(data), model)
	var e *bus.Error
	if bus.Retryable(why) && errors.As(why, &e) {
		e.RetryAfter = retryAfter(resp.Header, p.d.Now())
	}
	return why
}

// explain says what a status and an error of the server's mean; status 0 is an
// error within a stream.
func (p *Provider) explain(status int, e *apiError, model string) error {
	seen := fmt.Sprintf(" (HTTP %d)", status)
	if status == 0 {
		status, seen = e.status(), ""
	}
	switch {
	case e.is("context_length_exceeded") || status != 429 && e.says("context length", "context window", "context size", "prompt is too long", "reduce the length"):
		return llm.TooLong(bus.Errorf(bus.CodeInvalid, "the conversation is too long for model %s", model).WithHint(hintLong))
	case e.is("content_filter", "content_policy_violation") || status == 403 && e.says("moderation", "flagged"): // the latter are OpenRouter's
		return p.filtered()
	case e.is("insufficient_quota") || status == 402:
		return bus.Errorf(bus.CodeDenied, "the account at %s has no credit left", p.host).WithHint("add credit there; until then no question is answered")
	case e.is("model_not_found") || (status == 404 || status == 400) && e.says("model") && e.says("not found", "not exist", "not a valid model"):
		return bus.Errorf(bus.CodeInvalid, "%s has no model %s", p.host, model).WithHint(hintModel)
	case status == 401 || status == 403:
		return p.denied(seen)
	case status == 404 || status == 405 || status >= 300 && status < 400:
		return p.hint(bus.Errorf(bus.CodeInvalid, "there are no Chat Completions at %s%s", p.host, seen), hintURL)
	case status == 429:
		return bus.Errorf(bus.CodeUnavailable, "%s asks to slow down%s", p.host, seen)
	case status == 408 || status == 409 || status == 425 || status >= 500 || status < 400:
		return bus.Errorf(bus.CodeUnavailable, "%s cannot answer now%s", p.host, seen)
	}
	why := bus.Errorf(bus.CodeInvalid, "%s does not take the question%s", p.host, seen)
	if text := p.oneLine(e.Message); text != "" {
		why.Message += ": " + strings.TrimSuffix(text, ".")
	}
	return p.hint(why, "check agent.model and $.base_url")
}

func (p *Provider) denied(seen string) *bus.Error {
	if p.cfg.APIKey.IsZero() {
		return p.hint(bus.Errorf(bus.CodeDenied, "%s wants an API key%s", p.host, seen), "set $.api_key")
	}
	return p.hint(bus.Errorf(bus.CodeDenied, "%s does not accept the API key%s", p.host, seen), "check $.api_key, and what that key may do")
}

// maxQuote bounds what is passed on of a text of the server's, in characters.
const maxQuote = 200

// oneLine makes a server's text fit for an error: short, on one line, and
// without the key, should the server repeat it.
func (p *Provider) oneLine(text string) string {
	if key := p.cfg.APIKey.Reveal(); key != "" {
		text = strings.ReplaceAll(text, key, "[redacted]")
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(text); len(runes) > maxQuote {
		text = string(runes[:maxQuote-1]) + "…"
	}
	return text
}
