// SPDX-License-Identifier: MIT OR Apache-2.0

package llm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// A model that always has a third more tokens than estimated is known after a few
// answers, and one report that is far off changes little.
func TestMeter(t *testing.T) {
	var m Meter
	rng := rand.New(rand.NewPCG(1, 2))
	if n := m.Scaled("m", 1000); n != 1000 || m.Error("m") != guessedOff {
		t.Errorf("before anything was heard: %d, %v", n, m.Error("m"))
	}
	var last float64
	for n := range 30 {
		asked := 500 + rng.Int64N(3000)
		off, ok := m.Learn("m", asked, int64(float64(asked)*1.33*(1+.04*(rng.Float64()-.5))))
		if !ok {
			t.Fatal("a report tells nothing")
		}
		if n == 0 && math.Abs(off+.25) > .03 {
			t.Errorf("the first estimate was off by %v", off)
		}
		last = off
	}
	if n := m.Scaled("m", 1000); n < 1300 || n > 1360 || math.Abs(last) > .03 || m.Error("m") > .05 {
		t.Errorf("after 30 answers 1000 are taken for %d; the last was off by %.3f, on average %.3f", n, last, m.Error("m"))
	}
	if most := m.AtMost("m", 1000); most <= m.Scaled("m", 1000) || most > 1500 {
		t.Errorf("at most %d", most)
	}
	m.Learn("m", 1000, 2900)
	if n := m.Scaled("m", 1000); n > 1400 {
		t.Errorf("one report made of 1330 %d", n)
	}
	if n := m.Scaled("other", 1000); n != 1000 {
		t.Errorf("another model has %d", n)
	}
}

// A provider that counts something else, or a question too short to tell, teaches nothing.
func TestMeterIgnoresNonsense(t *testing.T) {
	var m Meter
	for _, r := range []struct{ asked, counted int64 }{{1000, 10}, {1000, 0}, {1000, -5}, {1000, 3001}, {99, 99}, {0, 0}, {1000, math.MaxInt64}} {
		if _, ok := m.Learn("m", r.asked, r.counted); ok {
			t.Errorf("%+v is learned", r)
		}
	}
	for n := range 2 * maxMetered {
		m.Learn(fmt.Sprint(n), 1000, 1500)
	}
	if len(m.models) != maxMetered {
		t.Errorf("%d models are remembered", len(m.models))
	}
}

// What was learned goes on in another process; what cannot have been learned does not.
func TestMeterIsKept(t *testing.T) {
	var m, next Meter
	for range 5 {
		m.Learn("m", 1000, 1330)
	}
	data, err := m.Save()
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Load(data); err != nil || next.Scaled("m", 1000) != m.Scaled("m", 1000) || next.Error("m") != m.Error("m") {
		t.Errorf("%d and %d, %v", next.Scaled("m", 1000), m.Scaled("m", 1000), err)
	}
	for _, bad := range []string{`{"m":{"log":9,"off":0.1,"heard":2}}`, `{"m":{"log":0.5,"off":-1,"heard":2}}`, `{"m":{"log":0.5,"off":0.1,"heard":0}}`} {
		if err := next.Load([]byte(bad)); err != nil || next.Scaled("m", 1000) != 1000 {
			t.Errorf("%s is believed, %v", bad, err)
		}
	}
	if err := next.Load([]byte(`{`)); err == nil {
		t.Error("no JSON is believed")
	}
}
