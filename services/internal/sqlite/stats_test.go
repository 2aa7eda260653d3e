// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestCollectors(t *testing.T) {
	s := openTest(t, Options{})
	done := make(chan error, 1)
	if err := s.WriteLazy(put("a"), func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), put("b")); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), func(*Tx) error { return errors.New("no") }); err == nil {
		t.Fatal("no error")
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := gather(t, s)
	st := s.Stats()
	for name, want := range map[string]float64{
		"commits_total":         float64(st.Commits), // the migration's too
		"commit_failures_total": 0,
		"commit_seconds":        float64(st.Commits),
		"batch_writes":          float64(st.Commits),
		"writes_total/eager":    3,
		"writes_total/lazy":     1,
		"queue_depth":           0,
		"queue_depth_limit":     4096,
		"wal_bytes":             float64(st.WALBytes),
		"db_bytes":              float64(st.DBBytes),
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v (there: %v), want %v", name, v, ok, want)
		}
	}
	if len(got) != 10 || st.Commits < 2 || st.WALBytes == 0 || st.DBBytes == 0 {
		t.Errorf("%d metrics: %v; stats %+v", len(got), got, st)
	}
}

// gather is the value of each metric, or its number of samples, by name
// without prefix and label value.
func gather(t *testing.T, s *Store) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	for _, c := range s.Collectors() {
		if err := reg.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "blufio_store_")
			for _, l := range m.GetLabel() {
				name += "/" + l.GetValue()
			}
			switch {
			case m.GetCounter() != nil:
				got[name] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				got[name] = m.GetGauge().GetValue()
			default:
				got[name] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return got
}
