// SPDX-License-Identifier: MIT OR Apache-2.0

package llm

import (
	"errors"

	"github.com/blufio/blufio/bus"
)

// refused marks a model's or its vendor's No to what was asked.
type refused struct{ why *bus.Error }

func (r refused) Error() string { return r.why.Error() }
func (r refused) Unwrap() error { return r.why }

// Refused is why as an error for which [IsRefused] is true. Providers return it
// when a model refused, or a content filter stopped the answer: the person is
// told, and no other model is asked to do it instead.
func Refused(why *bus.Error) error { return refused{why} }

// IsRefused reports whether err is a No to what was asked, and no failure.
func IsRefused(err error) bool {
	var r refused
	return errors.As(err, &r)
}
