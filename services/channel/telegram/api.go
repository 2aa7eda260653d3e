// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/outbound"
)

const (
	maxAnswer  = 8 << 20          // bytes of one answer: a page of updates
	callLimit  = 20 * time.Second // for every method but getUpdates
	fileLimit  = 2 * time.Minute  // for a file
	pageLength = 50               // updates at once
)

// client speaks the Bot API (https://core.telegram.org/bots/api): a POST of JSON
// to /bot<token>/<method>. The token is part of every URL, so no error of net/http
// leaves this file as it is.
type client struct {
	base  string
	token config.Secret // read with each request: it may change
	http  *http.Client  // everything but files
	files *http.Client
}

func newClient(cfg Config) *client {
	options := cfg.outbound()
	c := &client{base: strings.TrimRight(cfg.APIURL, "/"), token: cfg.BotToken, http: outbound.New(options)}
	options.MaxBody, options.Silence = cfg.MaxFileBytes, 30*time.Second
	c.files = outbound.New(options)
	// Go puts the URL that it comes from into Referer when it follows a redirect.
	stay := func(*http.Request, []*http.Request) error { return errors.New("a redirect was not followed") }
	c.http.CheckRedirect, c.files.CheckRedirect = stay, stay
	return c
}

// as is the client with one token, whatever becomes of it.
func (c *client) as(token string) *client {
	fixed := *c
	fixed.token = config.NewSecret(token)
	return &fixed
}

func (c *client) close() {
	c.http.CloseIdleConnections()
	c.files.CloseIdleConnections()
}

// apiError is a refusal in Telegram's words.
type apiError struct {
	method      string
	code        int // as an HTTP status
	description string
	retryAfter  time.Duration
	migrateTo   int64 // the group became a supergroup with this id
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%s: Telegram answered %d: %s", e.method, e.code, e.description)
}

// says reports whether err is a refusal with one of these words in it.
func says(err error, words ...string) bool {
	var e *apiError
	if !errors.As(err, &e) {
		return false
	}
	for _, w := range words {
		if strings.Contains(strings.ToLower(e.description), strings.ToLower(w)) {
			return true
		}
	}
	return false
}

// codeOf is the refusal's code, 0 when there was no answer.
func codeOf(err error) int {
	var e *apiError
	if errors.As(err, &e) {
		return e.code
	}
	return 0
}

// rejectsToken reports whether Telegram does not know the token. It answers 404 where
// that does not even look like one.
func rejectsToken(err error) bool {
	code := codeOf(err)
	return code == http.StatusUnauthorized || code == http.StatusNotFound
}

// callError is a request that Telegram did not answer, or with what is no answer.
type callError struct {
	text string
	err  error // what errors.Is finds, or nil
}

func (e *callError) Error() string { return e.text }
func (e *callError) Unwrap() error { return e.err }

// ofTelegram reports whether Telegram, or the way there, is what failed.
func ofTelegram(err error) bool {
	return errors.As(err, new(*apiError)) || errors.As(err, new(*callError))
}

// tokenError says why there is no token to make a request with.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }

var errNoToken = errors.New("telegram.bot_token is not set")

// openToken returns the token of now.
func (c *client) openToken() (string, error) {
	token, err := c.token.Open()
	if err == nil && token == "" {
		err = errNoToken
	}
	if err != nil {
		return "", &tokenError{err}
	}
	return token, nil
}

// call runs one method and decodes its result into result, unless that is nil.
func (c *client) call(ctx context.Context, method string, params, result any) error {
	limit := callLimit
	if p, ok := params.(getUpdates); ok {
		limit += time.Duration(p.Timeout) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	body, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("%s: encode: %w", method, err)
	}
	token, err := c.openToken()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/bot"+token+"/"+method, bytes.NewReader(body))
	if err != nil {
		return errors.New(method + ": telegram.api_url is not usable")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return unreached(token, method, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return unreached(token, method, err)
	}
	return decode(token, method, resp.StatusCode, data, result)
}

// decode reads the envelope around every answer.
func decode(token, method string, status int, data []byte, result any) error {
	var env struct {
		OK          bool            `json:"ok"`
		Result      json.RawMessage `json:"result"`
		ErrorCode   int             `json:"error_code"`
		Description string          `json:"description"`
		Parameters  struct {
			RetryAfter int64 `json:"retry_after"`
			MigrateTo  int64 `json:"migrate_to_chat_id"`
		} `json:"parameters"`
	}
	err := json.Unmarshal(data, &env)
	if err != nil || !env.OK {
		e := &apiError{method: method, code: status, description: http.StatusText(status)}
		if err == nil && env.ErrorCode != 0 {
			e.code, e.description, e.migrateTo = env.ErrorCode, redact(token, env.Description), env.Parameters.MigrateTo
			e.retryAfter = time.Duration(min(max(env.Parameters.RetryAfter, 0), 24*3600)) * time.Second
		}
		return e
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(env.Result, result); err != nil {
		return &callError{text: method + ": the answer is not understood"}
	}
	return nil
}

// open begins to read a file. The caller closes it.
func (c *client) open(ctx context.Context, path string) (io.ReadCloser, error) {
	token, err := c.openToken()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/file/bot"+token+"/"+(&url.URL{Path: path}).EscapedPath(), nil)
	if err != nil {
		return nil, errors.New("read file: its path is not usable")
	}
	resp, err := c.files.Do(req)
	if err != nil {
		return nil, unreached(token, "read file", err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, &apiError{method: "read file", code: resp.StatusCode, description: http.StatusText(resp.StatusCode)}
	}
	return cleanReader{token, resp.Body}, nil
}

// unreached is an error of net/http without the URL, which it repeats.
func unreached(token, what string, err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	var silent *outbound.SilentError
	switch {
	case errors.Is(err, context.Canceled):
		return &callError{what + ": " + context.Canceled.Error(), context.Canceled}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &silent):
		return &callError{what + ": Telegram did not answer in time: " + context.DeadlineExceeded.Error(), context.DeadlineExceeded}
	}
	return &callError{text: redact(token, what+": Telegram is not reached: "+err.Error())}
}

func redact(token, s string) string { return strings.ReplaceAll(s, token, "[redacted]") }

// cleanReader reads a file; its errors do not repeat the URL. One that is longer
// than it may be is blob's to refuse.
type cleanReader struct {
	token string
	io.ReadCloser
}

func (r cleanReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	var large *outbound.TooLargeError
	switch {
	case err == nil, err == io.EOF:
		return n, err
	case errors.As(err, &large):
		return n, blob.ErrTooLarge
	}
	return n, unreached(r.token, "read file", err)
}
