// SPDX-License-Identifier: MIT OR Apache-2.0

package llm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/blufio/blufio/bus"
)

// A No is told from a failure, and the person still gets its words.
func TestRefused(t *testing.T) {
	why := bus.Errorf(bus.CodeInvalid, "I will not")
	err := fmt.Errorf("ask model: %w", Refused(why))
	var e *bus.Error
	if !IsRefused(err) || !errors.As(err, &e) || e != why || IsTooLong(err) {
		t.Errorf("%v holds %v", err, e)
	}
	if IsRefused(why) || IsRefused(nil) || IsRefused(TooLong(why)) {
		t.Error("any error is taken for a No")
	}
}
