// SPDX-License-Identifier: MIT OR Apache-2.0

package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"unicode"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/outbound"
)

// unreached explains why there is no HTTP answer. Go's own errors are not passed
// on: they name whole URLs.
func (c *Client) unreached(err error) *bus.Error {
	var plain *outbound.PlaintextError
	var redirect *outbound.RedirectError
	var silent *outbound.SilentError
	var untrusted *tls.CertificateVerificationError
	var name *net.DNSError
	var timeout interface{ Timeout() bool }
	url := c.setting("base_url")
	network := "check the network, and " + url
	switch {
	case errors.As(err, &plain):
		return bus.Errorf(bus.CodeInvalid, "%s", plain.Error()).WithHint("%s", plain.Hint())
	case errors.As(err, &redirect):
		return bus.Errorf(bus.CodeInvalid, "%s pointed elsewhere: %s", c.Host, redirect.Error()).WithHint("%s", c.URLHint)
	case errors.As(err, &silent):
		return bus.Errorf(bus.CodeUnavailable, "%s gave no answer for %s", c.Host, silent.After).WithHint("%s sets how long to wait", c.setting("timeout"))
	case errors.As(err, &untrusted):
		return bus.Errorf(bus.CodeInvalid, "the certificate of %s is not trusted", c.Host).WithHint("check %s, and the machine's clock and certificates", url)
	case errors.Is(err, http.ErrSchemeMismatch):
		return bus.Errorf(bus.CodeInvalid, "%s does not speak https", c.Host).WithHint("check %s; does it begin with http://?", url)
	case errors.As(err, &name):
		return bus.Errorf(bus.CodeUnavailable, "the address of %s was not found", c.Host).WithHint("%s", network)
	case errors.Is(err, syscall.ECONNREFUSED):
		return bus.Errorf(bus.CodeUnavailable, "nothing answers at %s", c.Host).WithHint("check that the model's server runs, and %s", url)
	case errors.As(err, &timeout) && timeout.Timeout():
		return bus.Errorf(bus.CodeUnavailable, "%s cannot be reached in time", c.Host).WithHint("%s", network)
	}
	return bus.Errorf(bus.CodeUnavailable, "the connection to %s broke", c.Host).WithHint("%s", network)
}

// broken explains why a begun answer did not come to its end.
func (c *Client) broken(err error) error {
	var told *bus.Error
	var silent *outbound.SilentError
	var large *outbound.TooLargeError
	switch {
	case errors.As(err, &told):
		return err
	case errors.As(err, &silent):
		return bus.Errorf(bus.CodeUnavailable, "%s fell silent for %s within its answer", c.Host, silent.After).WithHint("%s sets how long to wait", c.setting("timeout"))
	case errors.Is(err, ErrMalformed), errors.As(err, &large):
		return bus.Errorf(bus.CodeInternal, "%s does not answer as %s do: %s", c.Host, c.Speaks, err.Error()).WithHint("%s", c.URLHint)
	}
	return bus.Errorf(bus.CodeUnavailable, "the answer of %s broke off", c.Host)
}

// Status says what an HTTP status means, which the vendor's own codes did not
// explain better. shown is how the message has it, message the server's own.
func (c *Client) Status(status int, shown, message string) *bus.Error {
	switch {
	case status == 402:
		return c.NoCredit()
	case status == 401 || status == 403:
		return c.denied(shown)
	case status == 404 || status == 405 || status >= 300 && status < 400:
		return bus.Errorf(bus.CodeInvalid, "there are no %s at %s%s", c.Speaks, c.Host, shown).WithHint("%s", c.URLHint)
	case status == 429:
		return bus.Errorf(bus.CodeUnavailable, "%s asks to slow down%s", c.Host, shown)
	case status == 529:
		return bus.Errorf(bus.CodeUnavailable, "%s is overloaded and cannot answer now%s", c.Host, shown)
	case status == 408 || status == 409 || status == 425 || status >= 500 || status < 400:
		return bus.Errorf(bus.CodeUnavailable, "%s cannot answer now%s", c.Host, shown)
	}
	why := bus.Errorf(bus.CodeInvalid, "%s does not take the question%s", c.Host, shown)
	if text := c.Quote(message); text != "" {
		why.Message += ": " + strings.TrimSuffix(text, ".")
	}
	return why.WithHint("check agent.model and %s", c.setting("base_url"))
}

// Shown is how a message has an HTTP status; 0, an error within a stream, has none.
func Shown(status int) string {
	if status == 0 {
		return ""
	}
	return fmt.Sprintf(" (HTTP %d)", status)
}

func (c *Client) denied(shown string) *bus.Error {
	key := c.setting("api_key")
	if c.Key.IsZero() {
		return bus.Errorf(bus.CodeDenied, "%s wants an API key%s", c.Host, shown).WithHint("`blufio config set-secret %s` gives it one", key)
	}
	return bus.Errorf(bus.CodeDenied, "%s does not accept the API key%s", c.Host, shown).WithHint("check what that key may do; `blufio config set-secret %s` replaces it", key)
}

// NoCredit is an account that has to be paid first.
func (c *Client) NoCredit() *bus.Error {
	return bus.Errorf(bus.CodeDenied, "the account at %s has no credit left", c.Host).WithHint("add credit there; until then no question is answered")
}

// NoModel is a model that the server does not have.
func (c *Client) NoModel(model string) *bus.Error {
	return bus.Errorf(bus.CodeInvalid, "%s has no model %s", c.Host, model).WithHint("set agent.model, or the entry in agent.provider, to a model that it offers")
}

// TooLong is a question that the model cannot read all of.
func (c *Client) TooLong(model string) error {
	return llm.TooLong(bus.Errorf(bus.CodeInvalid, "the conversation is too long for model %s", model).
		WithHint("/new begins a new conversation; agent.history_tokens bounds what goes along"))
}

// Refused is a model that does not want to answer, in its own words if there are
// any.
func (c *Client) Refused(words string) error {
	if words = c.Quote(words); words != "" {
		words = ": " + words
	}
	return llm.Refused(bus.Errorf(bus.CodeInvalid, "the model refused%s", words).WithHint("say it differently, or use another model"))
}

// Empty is an answer that came whole and has nothing in it.
func (c *Client) Empty(model string) *bus.Error {
	return bus.Errorf(bus.CodeUnavailable, "model %s gave an empty answer", model).WithHint("say it again, or differently")
}

// OnlyThought is an answer whose length was used up before it said anything.
func (c *Client) OnlyThought(model string) *bus.Error {
	return bus.Errorf(bus.CodeInvalid, "model %s used up its answer on thinking and said nothing", model).
		WithHint("raise agent.max_reply_tokens, or use a model that thinks less")
}

// MaxQuote bounds what is passed on of a text of the server's, in characters.
const MaxQuote = 200

// Quote makes a server's text fit for an error: short, on one line, and without
// the key, should the server repeat it.
func (c *Client) Quote(text string) string {
	if key := c.Key.Reveal(); key != "" {
		text = strings.ReplaceAll(text, key, "[redacted]")
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(text); len(runes) > MaxQuote {
		text = string(runes[:MaxQuote-1]) + "…"
	}
	return text
}

// Says reports whether a server's text has one of these in it, whatever its case.
func Says(text string, parts ...string) bool {
	text = strings.ToLower(text)
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
