// SPDX-License-Identifier: MIT OR Apache-2.0

package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
)

// maxLook bounds what is read of a list of models.
const maxLook = 1 << 20

// Seen is a server's answer to a question that costs nothing.
type Seen struct {
	Status int
	Body   []byte
	Date   time.Time // the server's clock; zero: it did not say
	Took   time.Duration
}

// Look asks once for what is at path below the base URL. The error is a [*bus.Error],
// and means that there was no answer.
func (c *Client) Look(ctx context.Context, path string, header http.Header) (Seen, error) {
	var connected atomic.Bool
	began := time.Now()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(c.BaseURL, "/")+path, nil)
	if err != nil {
		return Seen{}, bus.Errorf(bus.CodeInvalid, "%s is not a URL", c.setting("base_url"))
	}
	r.Header = header
	r.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(r)
	var body []byte
	if err == nil {
		defer resp.Body.Close() //nolint:errcheck // only read
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxLook))
	}
	took := time.Since(began)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && connected.Load():
		return Seen{}, &SlowError{Host: c.Host, After: took}
	case err != nil:
		return Seen{}, c.unreached(err)
	}
	seen := Seen{Status: resp.StatusCode, Body: body, Took: took}
	seen.Date, _ = http.ParseTime(resp.Header.Get("Date")) // zero if it is not there
	return seen, nil
}

// SlowError is a server that took the connection and did not answer in time.
type SlowError struct {
	Host  string
	After time.Duration
}

func (e *SlowError) Error() string {
	return fmt.Sprintf("%s took the question and did not answer within %s", e.Host, e.After.Round(100*time.Millisecond))
}
