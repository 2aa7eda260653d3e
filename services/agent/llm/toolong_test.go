// SPDX-License-Identifier: MIT OR Apache-2.0

package llm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/blufio/blufio/bus"
)

// The agent tells a question that is too long from others, and the person still
// gets its words.
func TestTooLong(t *testing.T) {
	why := bus.Errorf(bus.CodeInvalid, "too much").WithHint("say less")
	err := fmt.Errorf("ask model: %w", TooLong(why))
	var e *bus.Error
	if !IsTooLong(err) || !errors.As(err, &e) || e != why || bus.CodeOf(err) != bus.CodeInvalid {
		t.Errorf("%v holds %v", err, e)
	}
	if IsTooLong(why) || IsTooLong(nil) || IsTooLong(errors.New("too much")) {
		t.Error("any error is taken for one of length")
	}
}
