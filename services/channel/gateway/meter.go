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
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	failures    *prometheus.CounterVec
	gauges      []prometheus.Collector
}

func newMeter(cfg Config, ws *waiters, ps *passes, streams, bodies chan struct{}) *meter {
	m := &meter{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_gateway_requests_total",
			Help: "Requests answered, by route and class of the status."}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "blufio_gateway_request_seconds",
			Help:    "Time a request took, waiting for a reply included.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 30, 60}}, []string{"route"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_gateway_denied_total",
			Help: "Requests refused for who sent them, by reason."}, []string{"reason"}),
	}
	m.gauge("blufio_gateway_connections", "Open connections.", func() float64 { return float64(m.connections.Load()) })
	m.gauge("blufio_gateway_connections_limit", "Bound of open connections.", func() float64 { return float64(cfg.MaxConnections) })
	m.gauge("blufio_gateway_waiters", "Requests waiting for a reply.", func() float64 { return float64(ws.len()) })
	m.gauge("blufio_gateway_waiters_limit", "Bound of requests waiting for a reply.", func() float64 { return float64(cfg.MaxWaiters) })
	m.gauge("blufio_gateway_tokens", "Tokens that are valid.", func() float64 { return float64(ps.count()) })
	m.gauge("blufio_gateway_tokens_limit", "Bound of tokens that are valid.", func() float64 { return float64(cfg.MaxTokens) })
	m.gauge("blufio_gateway_streams", "Open event streams and sockets.", func() float64 { return float64(len(streams)) })
	m.gauge("blufio_gateway_streams_limit", "Bound of open event streams and sockets.", func() float64 { return float64(cfg.MaxStreams) })
	m.gauge("blufio_gateway_bodies", "Bodies and frames being read or handed over.", func() float64 { return float64(len(bodies)) })
	m.gauge("blufio_gateway_bodies_limit", "Bound of bodies and frames being read or handed over.", func() float64 { return float64(cap(bodies)) })
	m.prime()
	return m
}

func (m *meter) gauge(name, help string, value func() float64) {
	m.gauges = append(m.gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
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
