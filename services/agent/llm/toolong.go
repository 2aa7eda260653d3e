// SPDX-License-Identifier: MIT OR Apache-2.0

package llm

import (
	"errors"

	"github.com/blufio/blufio/bus"
)

// tooLong marks the failure of a conversation that does not fit into the model.
type tooLong struct{ why *bus.Error }

func (t tooLong) Error() string { return t.why.Error() }
func (t tooLong) Unwrap() error { return t.why }

// TooLong is why as an error for which [IsTooLong] is true. Providers return it
// when the model cannot read all of a question: the same one with less of the
// conversation may be answered.
func TooLong(why *bus.Error) error { return tooLong{why} }

// IsTooLong reports whether err means that the question was too long for the model.
func IsTooLong(err error) bool {
	var t tooLong
	return errors.As(err, &t)
}
