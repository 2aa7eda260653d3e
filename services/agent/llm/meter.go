// SPDX-License-Identifier: MIT OR Apache-2.0

package llm

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
)

// Meter knows by how much the estimates of [Tokens] are wrong for each model, from
// what the model's provider reports with its answers. What it knows outlives the process
// with [Meter.Save]. The zero value is ready, and safe for concurrent use.
type Meter struct {
	mu     sync.Mutex
	models map[string]*scale
}

// scale is what is known of one model.
type scale struct {
	log   float64 // of what an estimate has to be multiplied by
	off   float64 // mean of the errors that were left, as a share
	heard int     // reports
}

const (
	maxMetered = 64  // models; estimates of further ones stay as they are
	leastAsked = 100 // tokens: of less, what vendors put around a message is too large a part
	farthest   = 3   // a report of more than so many times the estimate, or less than that part of it, counts something else
	guessedOff = .15 // error before anything was heard
)

// Scaled is an estimate for this model, corrected.
func (m *Meter) Scaled(model string, estimate int64) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.models[model]; s != nil {
		return int64(math.Ceil(float64(estimate) * math.Exp(s.log)))
	}
	return estimate
}

// AtMost is Scaled with the usual error on top: most questions have fewer tokens.
func (m *Meter) AtMost(model string, estimate int64) int64 {
	return int64(math.Ceil(float64(m.Scaled(model, estimate)) * (1 + 2*m.Error(model))))
}

// Error is by how much corrected estimates for a model have been off, on average, as a
// share of the true count.
func (m *Meter) Error(model string) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.models[model]; s != nil {
		return s.off
	}
	return guessedOff
}

// Learn takes what a provider counted of a question that was estimated, uncorrected, at
// that. It returns the error of the corrected estimate before it learned, as a share of
// the count, and false where the report tells nothing.
func (m *Meter) Learn(model string, estimate, counted int64) (off float64, ok bool) {
	ratio := float64(counted) / float64(max(1, estimate))
	if estimate < leastAsked || ratio > farthest || ratio < 1./farthest {
		return 0, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.models[model]
	if s == nil {
		if len(m.models) >= maxMetered {
			return 0, false
		}
		if m.models == nil {
			m.models = map[string]*scale{}
		}
		s = &scale{off: guessedOff}
		m.models[model] = s
	}
	return s.learn(ratio), true
}

// learn moves the scale towards a ratio: soon at first, then slowly, and never far for
// one report alone.
func (s *scale) learn(ratio float64) float64 {
	off := math.Exp(s.log)/ratio - 1
	s.heard++
	part := max(1/float64(s.heard), .1)
	step := math.Log(ratio) - s.log
	if s.heard > 3 {
		step = min(max(step, -.25), .25)
	}
	s.log += part * step
	s.off += max(1/float64(s.heard+1), .1) * (math.Abs(off) - s.off) // what was guessed counts as a report: one alone says little of how far others are off
	return off
}

// saved is a scale as it is stored.
type saved struct {
	Log   float64 `json:"log"`
	Off   float64 `json:"off"`
	Heard int     `json:"heard"`
}

// Save returns what was learned, for Load.
func (m *Meter) Save() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]saved{}
	for model, s := range m.models {
		out[model] = saved{s.log, s.off, s.heard}
	}
	return json.Marshal(out)
}

// Load goes on from what Save has returned. What cannot have been learned it leaves out.
func (m *Meter) Load(data []byte) error {
	var in map[string]saved
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("read learned token ratios: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.models = map[string]*scale{}
	for _, model := range slices.Sorted(maps.Keys(in)) {
		s := in[model]
		if len(m.models) < maxMetered && math.Abs(s.Log) <= math.Log(farthest) && s.Off >= 0 && s.Off <= farthest && s.Heard > 0 {
			m.models[model] = &scale{s.Log, s.Off, s.Heard}
		}
	}
	return nil
}
