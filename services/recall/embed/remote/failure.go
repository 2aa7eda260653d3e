// SPDX-License-Identifier: MIT OR Apache-2.0

package remote

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/outbound"
)

const (
	maxErrors = 64 << 10 // bytes that are read of a refusal
	maxQuote  = 200      // characters that are passed on of it
)

func (e *Embedder) urlHint() string {
	return "check " + e.cfg.setting("base_url") + "; it usually ends with /v1"
}

// unreached explains why there is no HTTP answer, or not all of it. Go's own errors are not passed on: they name whole URLs.
func (e *Embedder) unreached(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("ask %s: %w", e.host, ctx.Err())
	}
	var plain *outbound.PlaintextError
	var redirect *outbound.RedirectError
	var silent *outbound.SilentError
	var untrusted *tls.CertificateVerificationError
	var name *net.DNSError
	address := e.cfg.setting("base_url")
	switch {
	case errors.As(err, &plain):
		return bus.Errorf(bus.CodeInvalid, "%s", plain.Error()).WithHint("%s", plain.Hint())
	case errors.As(err, &redirect):
		return bus.Errorf(bus.CodeInvalid, "%s pointed elsewhere: %s", e.host, redirect.Error()).WithHint("%s", e.urlHint())
	case errors.As(err, &silent):
		return bus.Errorf(bus.CodeUnavailable, "%s gave no answer for %s", e.host, silent.After).WithHint("%s sets how long to wait", e.cfg.setting("timeout"))
	case errors.As(err, &untrusted):
		return bus.Errorf(bus.CodeInvalid, "the certificate of %s is not trusted", e.host).WithHint("check %s, and the machine's clock and certificates", address)
	case errors.Is(err, http.ErrSchemeMismatch):
		return bus.Errorf(bus.CodeInvalid, "%s does not speak https", e.host).WithHint("check %s; does it begin with http://?", address)
	case errors.As(err, &name):
		return bus.Errorf(bus.CodeUnavailable, "the address of %s was not found", e.host).WithHint("check the network, and %s", address)
	case errors.Is(err, syscall.ECONNREFUSED):
		return bus.Errorf(bus.CodeUnavailable, "nothing answers at %s", e.host).WithHint("check that the embedding server runs, and %s", address)
	}
	return bus.Errorf(bus.CodeUnavailable, "the connection to %s broke", e.host).WithHint("check the network, and %s", address)
}

// noKey is a key that is set and cannot be had.
func (e *Embedder) noKey(err error) error {
	refused := bus.Errorf(bus.CodeDenied, "%v", err)
	if told := (*bus.Error)(nil); errors.As(err, &told) {
		refused.Hint = told.Hint
	}
	return refused
}

// refused explains an HTTP status.
func (e *Embedder) refused(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxErrors))
	if err != nil {
		b = nil // the status alone tells enough
	}
	why := e.explain(resp.StatusCode, b)
	if bus.Retryable(why) {
		why.RetryAfter = retryAfter(resp.Header, e.d.Now())
	}
	return why
}

// explain says what a status means, 0 for an error that came with a status of 200.
func (e *Embedder) explain(status int, body []byte) *bus.Error {
	key := e.cfg.setting("api_key")
	shown := ""
	if status != 0 {
		shown = fmt.Sprintf(" (HTTP %d)", status)
	}
	switch {
	case status == 401 || status == 403:
		if e.cfg.APIKey.IsZero() {
			return bus.Errorf(bus.CodeDenied, "%s wants an API key%s", e.host, shown).WithHint("`blufio config set-secret %s` gives it one", key)
		}
		return bus.Errorf(bus.CodeDenied, "%s does not accept the API key%s", e.host, shown).WithHint("check what that key may do; `blufio config set-secret %s` replaces it", key)
	case status == 402:
		return bus.Errorf(bus.CodeDenied, "the account at %s has no credit left", e.host).WithHint("add credit there")
	case status == 404 || status == 405 || status >= 300 && status < 400:
		return bus.Errorf(bus.CodeInvalid, "there are no Embeddings, or no model %s, at %s%s%s", e.cfg.Model, e.host, shown, e.words(body)).
			WithHint("check %s and %s", e.cfg.setting("model"), e.cfg.setting("base_url"))
	case status == 429:
		return bus.Errorf(bus.CodeBusy, "%s asks to slow down%s", e.host, shown)
	case status == 408 || status == 409 || status == 425 || status >= 500:
		return bus.Errorf(bus.CodeUnavailable, "%s cannot answer now%s", e.host, shown)
	}
	return bus.Errorf(bus.CodeInvalid, "%s does not take the texts%s%s", e.host, shown, e.words(body)).
		WithHint("check %s and %s", e.cfg.setting("model"), e.cfg.setting("base_url"))
}

// words are the server's own about an error: of an object by OpenAI's documentation, or of a bare text elsewhere.
func (e *Embedder) words(body []byte) string {
	var b struct {
		Error json.RawMessage `json:"error"`
	}
	var object struct {
		Message string `json:"message"`
	}
	var text string
	if json.Unmarshal(body, &b) != nil || json.Unmarshal(b.Error, &text) != nil && json.Unmarshal(b.Error, &object) != nil {
		return ""
	}
	if text = e.quote(text + object.Message); text == "" {
		return ""
	}
	return ": " + strings.TrimSuffix(text, ".")
}

// quote makes a server's text fit for an error: short, on one line, and without the key.
func (e *Embedder) quote(text string) string {
	if key := e.cfg.APIKey.Reveal(); key != "" {
		text = strings.ReplaceAll(text, key, "[redacted]")
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(text); len(runes) > maxQuote {
		text = string(runes[:maxQuote-1]) + "…"
	}
	return text
}

// retryAfter reads how long the server asks to wait, in seconds or as a date (RFC 9110). 0 is unknown.
func retryAfter(h http.Header, now time.Time) time.Duration {
	const longest = 24 * time.Hour
	text := strings.TrimSpace(h.Get("Retry-After"))
	if d, err := time.ParseDuration(text + "s"); err == nil && d >= 0 {
		return min(d, longest)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), longest)
	}
	return 0
}
