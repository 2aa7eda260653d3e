// SPDX-License-Identifier: MIT OR Apache-2.0

package services

import (
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus"
)

// busMetrics counts what the rooms' connections do. Labels come from the
// contract and the rooms' names: closed sets.
type busMetrics struct {
	handled *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	trouble *prometheus.CounterVec
}

func newBusMetrics() *busMetrics {
	return &busMetrics{
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_bus_handled_total",
			Help: "Calls answered and events heard, by lane and result code (empty: fine)."}, []string{"lane", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "blufio_bus_handle_seconds",
			Help:    "Time a handler took.",
			Buckets: []float64{.0001, .0005, .002, .01, .05, .25, 1, 5, 30}}, []string{"lane"}),
		trouble: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_bus_trouble_total",
			Help: "Messages dropped or refused by the bus, by room and reason."}, []string{"service", "reason"}),
	}
}

func (m *busMetrics) register(r *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{m.handled, m.seconds, m.trouble} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register bus metrics: %w", err)
		}
	}
	return nil
}

func (m *busMetrics) hooks(room string) bus.Hooks {
	return bus.Hooks{
		Handled: func(s *bus.Spec, took time.Duration, err error) {
			m.handled.WithLabelValues(s.Name, string(bus.CodeOf(err))).Inc()
			m.seconds.WithLabelValues(s.Name).Observe(took.Seconds())
		},
		Dropped: func(reason string) { m.trouble.WithLabelValues(room, reason).Inc() },
	}
}
