// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus"
)

// health tells when messages do not get through.
func (s *Service) health() []bus.Problem {
	var out []bus.Problem
	if depth, _, _ := s.queue.counts(); depth >= s.cfg.MaxQueue {
		out = append(out, bus.Problem{Code: "inbox_full", Title: fmt.Sprintf("%d messages wait for an answer; new ones are refused", depth),
			Hint: "they are worked off one by one; agent.max_queue is the bound"})
	}
	if n := s.undelivered(); n >= s.cfg.MaxOutbox {
		out = append(out, bus.Problem{Code: "outbox_full", Title: fmt.Sprintf("%d replies wait to be delivered; new messages are refused", n),
			Hint: "see the channels' errors; agent.max_outbox is the bound"})
	}
	for _, name := range slices.Sorted(maps.Keys(s.breakers)) {
		if p, ok := s.breakers[name].problem(name, s.now().Location()); ok {
			out = append(out, p)
		}
	}
	return out
}

// problem is what is wrong with a provider: it does not answer, or turns us away.
func (b *breaker) problem(name string, zone *time.Location) (bus.Problem, bool) {
	out, denied := b.state()
	p := bus.Problem{Code: "provider_down"}
	var why error
	switch {
	case out.down():
		why = out.why
		p.Title = fmt.Sprintf("%s does not answer since %s: %s", name, out.since.In(zone).Format("2006-01-02 15:04:05 MST"), why)
		p.Hint = "it is tried again by itself; a provider behind it in agent.provider answers meanwhile"
	case denied != nil:
		why = denied
		p.Code, p.Title = "provider_denied", fmt.Sprintf("%s: %s", name, why)
	default:
		return p, false
	}
	var e *bus.Error
	if errors.As(why, &e) && e.Hint != "" {
		p.Hint = e.Hint
	}
	return p, true
}

// metrics are the room's; labels come from closed sets.
type metrics struct {
	messages  *prometheus.CounterVec
	turns     *prometheus.CounterVec
	refused   prometheus.Counter
	broken    prometheus.Counter
	unsettled prometheus.Counter
	queued    prometheus.Histogram

	heartbeats *prometheus.CounterVec

	providerUp       *prometheus.GaugeVec
	providerFailures *prometheus.CounterVec

	latency prometheus.Histogram
	gauges  []prometheus.Collector
}

func newMetrics(s *Service) *metrics {
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_messages_total",
			Help: "Messages stored (in) and replies taken over by their channel (out)."}, []string{"channel", "direction"}),
		turns: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_turns_total",
			Help: "Turns ended, by how."}, []string{"state"}),
		heartbeats: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_agent_heartbeats_total",
			Help: "Heartbeats, by whether the agent looked or nothing had changed."}, []string{"result"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "blufio_messages_refused_total",
			Help: "Messages told to try again later because a queue was full."}),
		broken: prometheus.NewCounter(prometheus.CounterOpts{Name: "blufio_turns_broken_total",
			Help: "Turns that crashed or could not be stored and began again."}),
		unsettled: prometheus.NewCounter(prometheus.CounterOpts{Name: "blufio_settlements_retried_total",
			Help: "Model calls that the ledger did not book at once."}),
		queued: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "blufio_queue_wait_seconds",
			Help: "From a message's acceptance to the begin of its turn.", Buckets: buckets}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "blufio_response_latency_seconds",
			Help: "From a message's acceptance to its stored reply.", Buckets: buckets}),
	}
	m.providerUp = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "blufio_agent_provider_up",
		Help: "1 while a model's provider is asked, 0 while it is left out after failures."}, []string{"provider"})
	m.providerFailures = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_agent_provider_failures_total",
		Help: "Model calls that a provider did not answer."}, []string{"provider"})
	for name := range s.breakers {
		m.providerUp.WithLabelValues(name).Set(1)
		m.providerFailures.WithLabelValues(name)
	}
	for c := range s.outbox {
		m.messages.WithLabelValues(c, "in")
		m.messages.WithLabelValues(c, "out")
	}
	for _, st := range []string{bus.StateAnswered, bus.StateFailed, bus.StateDead} {
		m.turns.WithLabelValues(st)
	}
	gauge := func(name, help string, read func() float64) {
		m.gauges = append(m.gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	gauge("blufio_inbox_messages", "Messages not yet answered.", func() float64 { n, _, _ := s.queue.counts(); return float64(n) })
	gauge("blufio_inbox_limit", "Bound of blufio_inbox_messages.", func() float64 { return float64(s.cfg.MaxQueue) })
	gauge("blufio_active_sessions", "Sessions with a message waiting or running.", func() float64 { _, n, _ := s.queue.counts(); return float64(n) })
	gauge("blufio_active_sessions_limit", "Bound of blufio_active_sessions.", func() float64 { return float64(s.cfg.MaxSessions) })
	gauge("blufio_turns_running", "Turns under way.", func() float64 { _, _, n := s.queue.counts(); return float64(n) })
	gauge("blufio_turns_running_limit", "Bound of blufio_turns_running.", func() float64 { return float64(s.cfg.MaxTurns) })
	gauge("blufio_outbox_replies", "Replies not yet delivered.", func() float64 { return float64(s.undelivered()) })
	gauge("blufio_outbox_limit", "Bound of blufio_outbox_replies.", func() float64 { return float64(s.cfg.MaxOutbox) })
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return append([]prometheus.Collector{m.messages, m.turns, m.refused, m.broken, m.unsettled, m.queued, m.latency, m.heartbeats, m.providerUp, m.providerFailures}, m.gauges...)
}
