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
// The text is behind a pointer because fmt does not call the methods of an
// unexported field: there it finds an address and no text.
type Secret struct {
	_    [0]func() // not comparable: == would compare addresses
	text *string
}

// NewSecret wraps text; "" gives the zero Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text itself. Call it where the secret is used and nowhere else.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether no secret is set.
func (s Secret) IsZero() bool { return s.text == nil }

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
