// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// meter reads one of the room's metrics, the sum of its series.
func meter(t *testing.T, s *Service, name string) (sum float64) {
	t.Helper()
	r := prometheus.NewRegistry()
	for _, c := range s.meters.all() {
		if err := r.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	return 0 // it has no series yet
}
