// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// estimates returns how many estimates were held against a count, and the sum of their errors.
func (r *rig) estimates() (n uint64, errors float64) {
	r.t.Helper()
	for _, f := range r.gather() {
		if f.GetName() == "blufio_context_estimate_error_ratio" {
			for _, m := range f.GetMetric() {
				n += m.GetHistogram().GetSampleCount()
				errors += m.GetHistogram().GetSampleSum()
			}
		}
	}
	return n, errors
}

// A provider that counts half as much again as is estimated is known after a few
// answers. What nobody has counted teaches nothing.
func TestEstimatesAreLearned(t *testing.T) {
	guess := true
	r := newRig(t, func(_ context.Context, q llm.Request, _ func(string)) (llm.Response, error) {
		return llm.Response{Text: "well", Guess: guess, Usage: bus.Usage{Input: q.Tokens() / 2, CacheRead: q.Tokens(), Output: 5}}, nil
	})
	r.start()
	r.chat("s", "hello")
	if n, _ := r.estimates(); n != 0 {
		t.Errorf("%d estimates were held against a guess", n)
	}
	guess = false
	for range 10 {
		r.chat("s", "hello")
	}
	first, before := r.estimates()
	for range 10 {
		r.chat("s", "hello")
	}
	n, errors := r.estimates()
	if first != 10 || n != 20 || before < .3 || (errors-before)/10 > .02 {
		t.Errorf("of %d and %d estimates the errors are %.2f, then %.2f", first, n-first, before, errors-before)
	}
	r.restart()
	r.chat("s", "hello")
	if n, errors := r.estimates(); n != 1 || errors > .1 {
		t.Errorf("after a restart the error of %d estimates is %.2f", n, errors)
	}
}
