// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted stands for a secret wherever a secret might be shown.
const redacted = "[redacted]"

// Secret is text that does not show itself: printing with any verb, logging and
// marshalling give "[redacted]", or nothing when no secret is set. The zero value is
// no secret. Two Secrets are not comparable with ==; compare what Reveal returns.
//
// A Secret may be live ([NewLiveSecret]): then its text is asked for anew each time,
// and may come, change and go while the daemon runs. So whoever uses a Secret keeps
// the Secret and not its text.
//
// The text is behind a pointer because fmt does not call the methods of an
// unexported field: there it finds an address and no text.
type Secret struct {
	_    [0]func() // not comparable: == would compare addresses
	text *string
	live *live
}

// Handle is where the text of a live Secret comes from. Its methods are called from
// any goroutine.
type Handle interface {
	// IsSet reports, at once, whether there is a text.
	IsSet() bool
	// Text returns it, "" where there is none. The error says why it is there and
	// cannot be had, and has no part of it.
	Text() (string, error)
}

type live struct{ handle Handle }

// NewSecret wraps text; "" gives the zero Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// NewLiveSecret makes a Secret whose text h gives.
func NewLiveSecret(h Handle) Secret { return Secret{live: &live{h}} }

// Reveal returns the text itself, "" where there is none or it cannot be had. Call it
// where the secret is used and nowhere else.
func (s Secret) Reveal() string {
	text, err := s.Open()
	if err != nil {
		return ""
	}
	return text
}

// Open is Reveal for those who want to say why a secret that is set cannot be had.
func (s Secret) Open() (string, error) {
	switch {
	case s.live != nil:
		return s.live.handle.Text()
	case s.text == nil:
		return "", nil
	}
	return *s.text, nil
}

// IsLive reports whether the text may change, so that it is checked where it is set
// and not where it is read.
func (s Secret) IsLive() bool { return s.live != nil }

// IsZero reports whether no secret is set.
func (s Secret) IsZero() bool {
	if s.live != nil {
		return !s.live.handle.IsSet()
	}
	return s.text == nil
}

// String returns "[redacted]", or "" when no secret is set.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// Format writes String for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue keeps the text out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText gives String: a Secret cannot be saved by marshalling it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
