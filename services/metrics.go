// SPDX-License-Identifier: MIT OR Apache-2.0

package services

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus"
)

// What became of a call or an event: fine, the asker's fault, or ours.
const (
	resultOK      = "ok"
	resultRefused = "refused"
	resultFailed  = "failed"
)

// faults are the codes that are nobody's fault but ours.
var faults = []bus.Code{bus.CodeBusy, bus.CodeUnavailable, bus.CodeTimeout, bus.CodeInternal}

func resultOf(code bus.Code) string {
	switch {
	case code == "":
		return resultOK
	case slices.Contains(faults, code):
		return resultFailed
	}
	return resultRefused
}

// busMetrics counts what the rooms' connections do, and what goes wrong in the
// rooms. Labels come from the contract and the rooms' names: closed sets, each
// there from the first scrape.
type busMetrics struct {
	handled *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	trouble *prometheus.CounterVec
	rooms   []Door
	errors  map[errorKey]*atomic.Int64 // what the house itself knows of; complete before a room runs

	mu      sync.Mutex
	waiting map[waitingKey]bus.Queue
}

type (
	waitingKey struct{ room, lane string }
	errorKey   struct{ room, kind string }
)

var (
	errorsDesc = prometheus.NewDesc("blufio_errors_total",
		"What went wrong, by room and kind: an answer's error code, a restart of the room, or what the room says of itself.", []string{"service", "kind"}, nil)
	waitingDesc = prometheus.NewDesc("blufio_bus_waiting", "Requests and events that a room has taken and not finished.", []string{"service", "lane"}, nil)
	boundDesc   = prometheus.NewDesc("blufio_bus_waiting_limit",
		"Bound of blufio_bus_waiting, fixed: callers beyond are told busy, events beyond are dropped and counted, and so are requests that come faster than that is told.", []string{"service", "lane"}, nil)
)

// restarted is the kind of error that a room's failure is.
const restarted = "restart"

func newBusMetrics() *busMetrics {
	return &busMetrics{
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_bus_handled_total",
			Help: "Calls answered and events heard, by lane and result: ok, refused (the asker's fault) or failed."}, []string{"lane", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "blufio_bus_handle_seconds",
			Help:    "Time a handler took.",
			Buckets: []float64{.0001, .0005, .002, .01, .05, .25, 1, 5, 30}}, []string{"lane"}),
		trouble: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_bus_trouble_total",
			Help: "Messages dropped or refused by the bus, by room and reason; those that one listener drops in a row count once."}, []string{"service", "reason"}),
		errors:  map[errorKey]*atomic.Int64{},
		waiting: map[waitingKey]bus.Queue{},
	}
}

func (m *busMetrics) register(r *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{m.handled, m.seconds, m.trouble, m} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register bus metrics: %w", err)
		}
	}
	return nil
}

// furnish makes every series of a room.
func (m *busMetrics) furnish(d Door) {
	m.rooms = append(m.rooms, d)
	for _, h := range d.Hears {
		lane := h.Spec().Name
		m.seconds.WithLabelValues(lane)
		for _, result := range []string{resultOK, resultRefused, resultFailed} {
			m.handled.WithLabelValues(lane, result)
		}
		m.waiting[waitingKey{d.Name, lane}] = bus.Queue{Bound: h.Bound(), Len: func() int { return 0 }}
	}
	for _, reason := range bus.DropReasons {
		m.trouble.WithLabelValues(d.Name, reason)
	}
	for _, code := range faults {
		m.errors[errorKey{d.Name, string(code)}] = new(atomic.Int64)
	}
	m.errors[errorKey{d.Name, restarted}] = new(atomic.Int64)
}

func (m *busMetrics) hooks(room string) bus.Hooks {
	return bus.Hooks{
		Handled: func(s *bus.Spec, took time.Duration, err error) {
			code := bus.CodeOf(err)
			result := resultOf(code)
			m.handled.WithLabelValues(s.Name, result).Inc()
			m.seconds.WithLabelValues(s.Name).Observe(took.Seconds())
			if result == resultFailed {
				m.wrong(room, string(code))
			}
		},
		Dropped: func(reason string) { m.trouble.WithLabelValues(room, reason).Inc() },
		Queued: func(s *bus.Spec, q bus.Queue) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.waiting[waitingKey{room, s.Name}] = q // of the room's latest life
		},
	}
}

func (m *busMetrics) wrong(room, kind string) {
	if n := m.errors[errorKey{room, kind}]; n != nil {
		n.Add(1)
	}
}

// Describe implements prometheus.Collector.
func (m *busMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- errorsDesc
	ch <- waitingDesc
	ch <- boundDesc
}

// Collect implements prometheus.Collector.
func (m *busMetrics) Collect(ch chan<- prometheus.Metric) {
	for k, n := range m.errors {
		ch <- prometheus.MustNewConstMetric(errorsDesc, prometheus.CounterValue, float64(n.Load()), k.room, k.kind)
	}
	for _, d := range m.rooms {
		for kind, count := range d.Failures {
			ch <- prometheus.MustNewConstMetric(errorsDesc, prometheus.CounterValue, count(), d.Name, kind)
		}
	}
	m.mu.Lock()
	waiting := maps.Clone(m.waiting)
	m.mu.Unlock()
	for k, q := range waiting {
		ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(q.Len()), k.room, k.lane)
		ch <- prometheus.MustNewConstMetric(boundDesc, prometheus.GaugeValue, float64(q.Bound), k.room, k.lane)
	}
}
