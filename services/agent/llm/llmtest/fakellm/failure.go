// SPDX-License-Identifier: MIT OR Apache-2.0

package fakellm

import (
	"errors"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// Failure is what a provider has to make of an answer that is none: a code, words
// for a person, and neither the key nor an answer.
type Failure struct {
	Code  bus.Code
	Says  string // in the message
	Hint  string // in the hint
	Tries int    // how often it asks
}

// Check compares with what a provider returned that asked so often. key must not
// be in it.
func (f Failure) Check(t testing.TB, key string, got llm.Response, err error, asked int) {
	t.Helper()
	var e *bus.Error
	if !errors.As(err, &e) || e.Code != f.Code || !strings.Contains(e.Message, f.Says) || !strings.Contains(e.Hint, f.Hint) {
		t.Fatalf("%#v", err)
	}
	if llm.IsTooLong(err) != strings.Contains(f.Says, "too long") {
		t.Errorf("too long: %v", llm.IsTooLong(err))
	}
	if llm.IsRefused(err) != (strings.Contains(f.Says, "refused") || strings.Contains(f.Says, "filter")) {
		t.Errorf("refused: %v", llm.IsRefused(err))
	}
	if got.Text != "" || len(got.Calls) > 0 {
		t.Errorf("an answer with the error: %+v", got)
	}
	if strings.Contains(e.Message+e.Hint, key[:12]) || strings.Contains(e.Message, "\n") || len(e.Message) > 400 {
		t.Errorf("says too much: %s", e.Message)
	}
	if asked != f.Tries {
		t.Errorf("asked %d times", asked)
	}
	if bus.Retryable(err) && f.Tries == 1 && got.Usage.Input == 0 {
		t.Error("a begun answer costs nothing")
	}
}
