// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meter is the room's metrics. Every label value comes from a closed set, and
// every series is there from the first scrape.
type meter struct {
	connections atomic.Int64
	messages    atomic.Int64 // of sockets, without a reply
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	failures    *prometheus.CounterVec
	gauges      []prometheus.Collector
}

func newMeter(s *Service) *meter {
	m := &meter{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_gateway_requests_total",
			Help: "Requests answered, by route and class of the status."}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "blufio_gateway_request_seconds",
			Help:    "Time a request took, waiting for a reply included.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 30, 60}}, []string{"route"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_gateway_denied_total",
			Help: "Requests refused for who sent them, by reason."}, []string{"reason"}),
	}
	m.bounded("connections", "Open connections; more wait to be accepted.", s.cfg.MaxConnections, "gateway.max_connections", func() int { return int(m.connections.Load()) })
	m.bounded("waiters", "Requests waiting for a reply.", s.cfg.MaxWaiters, "gateway.max_waiters", s.waiters.len)
	m.bounded("tokens", "Tokens that are valid.", s.cfg.MaxTokens, "gateway.max_tokens", s.passes.count)
	m.bounded("tokens_ended", "Tokens that are valid no more and still listed; those that ended first are forgotten.", s.cfg.MaxTokens, "gateway.max_tokens", s.passes.ended)
	m.bounded("streams", "Open event streams and sockets.", cap(s.streams), "gateway.max_streams", func() int { return len(s.streams) })
	m.bounded("stream_events", "Events that wait for the clients of event streams.", cap(s.streams)*maxPending, "gateway.max_streams: 256 for each", s.feeds.pending)
	m.bounded("socket_messages", "Messages of sockets that have no reply yet.", cap(s.streams)*maxInFlight, "gateway.max_streams: 16 for each", func() int { return int(m.messages.Load()) })
	m.bounded("bodies", "Bodies and frames being read or handed over; small ones count when they are there.", cap(s.bodies), "gateway.max_bodies", func() int { return len(s.bodies) })
	m.bounded("large_bodies", "Of those, the large ones being read.", cap(s.large), "gateway.max_bodies: three quarters of it", func() int { return len(s.large) })
	m.bounded("scrapes", "Scrapes being answered, this one included.", cap(s.scrapes), "fixed", func() int { return len(s.scrapes) })
	m.bounded("remotes", "Addresses remembered for a bad token; the least recent is forgotten.", maxRemotes, "fixed", s.slow.len)
	m.bounded("slowed", "Answers to bad tokens that are delayed.", cap(s.slow.slots), "fixed", func() int { return len(s.slow.slots) })
	m.prime()
	return m
}

// bounded adds the gauges of something that can grow, and of its bound.
func (m *meter) bounded(name, help string, limit int, set string, read func() int) {
	name = "blufio_gateway_" + name
	m.gauges = append(m.gauges,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(read()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name + "_limit", Help: "Bound of " + name + ", " + set + "."}, func() float64 { return float64(limit) }))
}

// prime makes every series, so that a rate begins at zero.
func (m *meter) prime() {
	for _, rt := range (&front{Service: &Service{}}).routes() { // for their names only
		m.seconds.WithLabelValues(rt.name())
		for _, code := range []string{"1xx", "2xx", "3xx", "4xx", "5xx", aborted} {
			m.requests.WithLabelValues(rt.name(), code)
		}
	}
	for _, reason := range reasons {
		m.failures.WithLabelValues(reason)
	}
}

func (m *meter) served(route, code string, took time.Duration) {
	m.requests.WithLabelValues(route, code).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

func (m *meter) denied(reason string) { m.failures.WithLabelValues(reason).Inc() }

func (m *meter) collectors() []prometheus.Collector {
	return append([]prometheus.Collector{m.requests, m.seconds, m.failures}, m.gauges...)
}
