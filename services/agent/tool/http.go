// SPDX-License-Identifier: MIT OR Apache-2.0

package tool

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/clip"
	"github.com/blufio/blufio/services/internal/outbound"
)

const maxURL = 2048 // bytes

// httpGet fetches a page of the public internet as text.
type httpGet struct {
	client  func() *http.Client
	limit   int64 // bytes of an answer; the client stops there
	timeout time.Duration
	slots   slots
}

// Spec describes the tool.
func (httpGet) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: nameHTTPGet, Description: "Fetch a web page or JSON as text.",
		Schema: json.RawMessage(`{"type":"object","properties":{"url":{"type":"string","description":"https://…"}},"required":["url"],"additionalProperties":false}`)}
}

// Call fetches the page.
func (h httpGet) Call(ctx context.Context, c Call) (Result, error) {
	var in struct {
		URL string `json:"url"`
	}
	if err := decode(c.Input, &in); err != nil {
		return Result{}, err
	}
	u, err := url.Parse(in.URL)
	switch {
	case len(in.URL) > maxURL || err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return Result{}, bus.Errorf(bus.CodeInvalid, "url must be an https:// URL of at most %d bytes", maxURL)
	case u.User != nil:
		return Result{}, bus.Errorf(bus.CodeInvalid, "a name and password do not belong into the url")
	}
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	give, err := h.slots.take(ctx)
	if err != nil {
		return Result{}, err
	}
	defer give()
	return h.fetch(ctx, u)
}

func (h httpGet) fetch(ctx context.Context, u *url.URL) (Result, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Result{}, bus.Errorf(bus.CodeInvalid, "the url cannot be used")
	}
	req.Header.Set("Accept", "text/html, text/plain, application/json, text/*;q=0.9, application/xml;q=0.8")
	resp, err := h.client().Do(req)
	if err != nil {
		return Result{}, h.refusal(u, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return Result{}, bus.Errorf(bus.CodeUnavailable, "%s answered with status %d", u.Host, resp.StatusCode)
	}
	kind, charset := contentType(resp.Header.Get("Content-Type"))
	if kind == "binary" {
		return Result{}, bus.Errorf(bus.CodeInvalid, "%s is not text but %.80q", u.Host, resp.Header.Get("Content-Type"))
	}
	data, err := io.ReadAll(resp.Body)
	cut := errors.As(err, new(*outbound.TooLargeError))
	if err != nil && !cut {
		return Result{}, h.refusal(u, err)
	}
	text, more := readable(kind, charset, data)
	if resp.Request.URL.Host != u.Host {
		u = resp.Request.URL // after redirects
	}
	return Result{Text: outside("from "+u.Host, text, cut || more)}, nil
}

// refusal is what the model reads when there is no answer: its owner's rules and
// the network's errors, without the whole URL that net/http puts before them.
func (h httpGet) refusal(u *url.URL, err error) error {
	var private *outbound.PrivateError
	var plain *outbound.PlaintextError
	var wrapped *url.Error
	switch {
	case errors.As(err, &private):
		return bus.Errorf(bus.CodeDenied, "%s (the owner may %s)", private.Error(), private.Hint())
	case errors.As(err, &plain):
		return bus.Errorf(bus.CodeDenied, "%s; %s", plain.Error(), plain.Hint())
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, new(*outbound.SilentError)):
		return bus.Errorf(bus.CodeTimeout, "%s took longer than %s", u.Host, h.timeout)
	case errors.As(err, &wrapped):
		err = wrapped.Err
	}
	return bus.Errorf(bus.CodeUnavailable, "%s: %v", u.Host, err)
}

// contentType sorts a Content-Type into html, text or binary. What says nothing
// is taken for text, and looked at when it has come.
func contentType(header string) (kind, charset string) {
	if header == "" {
		return "text", ""
	}
	media, params, err := mime.ParseMediaType(header)
	if err != nil && media == "" {
		return "binary", ""
	}
	charset = strings.ToLower(params["charset"])
	switch {
	case media == "text/html", media == "application/xhtml+xml":
		return "html", charset
	case strings.HasPrefix(media, "text/"), strings.HasSuffix(media, "+json"), strings.HasSuffix(media, "+xml"),
		media == "application/json", media == "application/xml", media == "application/x-ndjson",
		media == "application/javascript", media == "application/yaml", media == "application/toml":
		return "text", charset
	}
	return "binary", charset
}

// readable makes text of an answer, at most [maxOutside] bytes; cut says that
// there was more.
func readable(kind, charset string, data []byte) (text string, cut bool) {
	s := string(data)
	if !utf8.ValidString(s) && (charset == "iso-8859-1" || charset == "windows-1252" || charset == "latin1") {
		s = latin1(data)
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if kind == "html" {
		return plainText(s, maxOutside)
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
	return shorten(s, maxOutside)
}

func latin1(data []byte) string {
	runes := make([]rune, len(data))
	for i, b := range data {
		runes[i] = rune(b)
	}
	return string(runes)
}

// shorten cuts s to at most limit bytes, between characters.
func shorten(s string, limit int) (string, bool) {
	if len(s) <= limit {
		return s, false
	}
	return clip.Bytes(s, limit), true
}
