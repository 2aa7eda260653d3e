// SPDX-License-Identifier: MIT OR Apache-2.0

package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/outbound"
)

const key = "sk-verySecret0123456789"

func client(t *testing.T) *Client {
	t.Helper()
	c, err := NewClient(Server{Section: "house", BaseURL: "https://example.com/v1/", Path: "/answers", Key: config.NewSecret(key),
		Speaks: "Answers", URLHint: "check house.base_url"}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Whatever keeps a connection from being made is told without the URL, and the
// hint names the section's own setting.
func TestUnreached(t *testing.T) {
	c := client(t)
	for want, cause := range map[string]error{
		"is another machine": &outbound.PlaintextError{Host: "example.com", Setting: "house.allow_plaintext"},
		"pointed elsewhere":  &outbound.RedirectError{Host: "example.org", Reason: "no"},
		"gave no answer":     &outbound.SilentError{After: time.Second},
		"is not trusted":     &tls.CertificateVerificationError{Err: errors.New("x509")},
		"was not found":      &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true},
		"in time":            context.DeadlineExceeded,
		"does not speak":     http.ErrSchemeMismatch,
		"nothing answers":    syscall.ECONNREFUSED,
		"the connection to ": errors.New("Post \"https://user:" + key + "@x\": EOF"),
	} {
		e := c.unreached(cause)
		if !strings.Contains(e.Message, want) || strings.Contains(e.Message, key) || !strings.Contains(e.Hint, "house.") {
			t.Errorf("%v: %#v", cause, e)
		}
	}
	if c.url != "https://example.com/v1/answers" {
		t.Errorf("asks at %s", c.url)
	}
}

func TestDefaultJitter(t *testing.T) {
	c := client(t)
	for range 1000 {
		if d := c.d.Jitter(time.Second); d < time.Second/2 || d > time.Second {
			t.Fatal(d)
		}
	}
}

func TestFrames(t *testing.T) {
	for name, c := range map[string]struct{ stream, want string }{
		"named":                   {"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", "a=1 b=2"},
		"a name is for one event": {"event: a\ndata: 1\n\ndata: 2\n\n", "a=1 =2"},
		"a name without data":     {"event: a\n\ndata: 2\n\n", "=2"},
		"in lines, CRLF, comment": {": c\r\ndata:1\r\ndata: 2\r\n\r\n", "=1\n2"},
		"carriage returns alone":  {"event:a\rdata:1\r\r", "a=1"},
		"the last one":            {"data: end\nevent: never\n\n", "=end"},
		"cut off":                 {"data: 1\n\ndata: 2\n", "=1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := NewFrames(strings.NewReader(c.stream), "end")
			var got []string
			for {
				frame, err := f.Next()
				if err != nil {
					if err != io.EOF {
						t.Error(err)
					}
					break
				}
				got = append(got, frame.Event+"="+string(frame.Data))
				if string(frame.Data) == "end" {
					break
				}
			}
			if all := strings.Join(got, " "); all != c.want {
				t.Errorf("got %q, want %q", all, c.want)
			}
		})
	}
}

func TestQuote(t *testing.T) {
	if got := client(t).Quote("no\r\n key\x00" + key + " " + strings.Repeat("ü", 300)); !strings.HasPrefix(got, "no key [redacted] ü") || len([]rune(got)) != MaxQuote {
		t.Error(got)
	}
}

func TestPlausible(t *testing.T) {
	if !Plausible(0, 1) || Plausible(0, 0) || Plausible(1, -1) || Plausible(1, MaxTokens+1) {
		t.Error("nonsense is taken for a count, or a count for nonsense")
	}
}
