// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus"
)

// Parts of the time from a message's acceptance to its delivery.
const (
	partQueue    = "queue"
	partContext  = "context"
	partProvider = "provider"
	partTools    = "tools"
	partStore    = "store"
	partDelivery = "delivery"
)

// metrics are the room's; labels come from closed sets.
type metrics struct {
	messages         *prometheus.CounterVec
	turns            *prometheus.CounterVec
	heartbeats       *prometheus.CounterVec
	refused          prometheus.Counter
	sessionsRefused  prometheus.Counter
	broken           prometheus.Counter
	unsettled        prometheus.Counter
	factsRefused     prometheus.Counter
	extractions      *prometheus.CounterVec
	extracted        prometheus.Counter
	providerUp       *prometheus.GaugeVec
	providerFailures *prometheus.CounterVec
	dead             *prometheus.GaugeVec
	latency          prometheus.Histogram
	parts            *prometheus.HistogramVec
	zones            *prometheus.HistogramVec
	estimates        *prometheus.HistogramVec
	compactions      *prometheus.CounterVec
	recalls          *prometheus.CounterVec
	gauges           []prometheus.Collector

	turnsFailed, deliveriesFailed, providersFailed, brokenTurns, settlementsFailed atomic.Int64 // for blufio_errors_total

	deadSince                               atomic.Pointer[time.Time]
	summed, keptWhole, unsummed, unrecalled atomic.Int64 // for the status
	sessions                                atomic.Int64 // as of the last status
}

// latencyOpts has classic buckets for every reader and native ones for those who
// can, in bounded number.
func latencyOpts(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: name, Help: help,
		Buckets:                     []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}
}

func newMetrics(s *Service) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		messages:         counters("blufio_messages_total", "Messages stored (in) and replies taken over by their channel (out).", "channel", "direction"),
		turns:            counters("blufio_turns_total", "Turns ended, by how.", "state"),
		heartbeats:       counters("blufio_agent_heartbeats_total", "Heartbeats, by whether the agent looked or nothing had changed.", "result"),
		refused:          counter("blufio_messages_refused_total", "Messages told to try again later because a queue was full."),
		sessionsRefused:  counter("blufio_sessions_refused_total", "New sessions told to try again later because memory was short."),
		broken:           counter("blufio_turns_broken_total", "Turns that crashed or could not be stored and began again."),
		unsettled:        counter("blufio_settlements_retried_total", "Model calls that the ledger did not book at once."),
		factsRefused:     counter("blufio_agent_facts_refused_total", "Facts that the recall room would not keep, or that cannot be read any more; the log says which."),
		extractions:      counters("blufio_agent_extractions_total", "Looks back at idle conversations for facts, by what came of them.", "result"),
		extracted:        counter("blufio_agent_extracted_facts_total", "Facts that looks back at conversations have found."),
		providerUp:       gauges("blufio_agent_provider_up", "1 while a model's provider is asked, 0 while its breaker is open: it is left out after failures.", "provider"),
		providerFailures: counters("blufio_agent_provider_failures_total", "Model calls that a provider did not answer.", "provider"),
		dead:             gauges("blufio_dead_letters", "Messages and replies that were given up and wait for the operator.", "kind"),
		latency:          prometheus.NewHistogram(latencyOpts("blufio_response_latency_seconds", "From a message's acceptance until its channel has taken the reply over.")),
		parts: prometheus.NewHistogramVec(latencyOpts("blufio_response_part_seconds",
			"Parts of blufio_response_latency_seconds: waiting for a turn, reading the conversation, models, tools, commits, delivery. Only those that a message had."), []string{"part"}),
	}
	m.zones = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "blufio_context_tokens",
		Help:    "Tokens of a turn's question, as estimated, by zone: instructions and tools, summary, exchanges word for word, what was recalled.",
		Buckets: []float64{0, 100, 200, 500, 1000, 1500, 2000, 3000, 4000, 8000, 16_000, 64_000}}, []string{"zone"})
	m.estimates = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "blufio_context_estimate_error_ratio",
		Help:    "By how much the estimate of a question's tokens was off what the provider has counted, as a share of the count, after correction by the counts before.",
		Buckets: []float64{.01, .02, .03, .05, .1, .15, .2, .3, .5, 1, 2}}, []string{"model"})
	m.compactions = counters("blufio_context_compactions_total", "Summaries of the older part of a conversation, by whether they were made behind a turn (soft) or before one (hard), and by what came of it.", "when", "outcome")
	m.recalls = counters("blufio_context_recalls_total", "Questions about what is known of a person, by what came of them; skipped ones were not asked, for the room did not answer before.", "result")
	m.prime(s)
	m.watch(s)
	return m
}

// Zones of what a model reads.
const (
	zoneStatic   = "static"
	zoneSummary  = "summary"
	zoneRecent   = "recent"
	zoneRecalled = "recalled"
)

func (m *metrics) zone(name string, tokens int64) {
	m.zones.WithLabelValues(name).Observe(float64(tokens))
}

// prime makes every series, so that a rate begins at zero.
func (m *metrics) prime(s *Service) {
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
	for _, r := range []string{"looked", "skipped"} {
		m.heartbeats.WithLabelValues(r)
	}
	for _, r := range []string{"found", "nothing", "failed", "given_up"} {
		m.extractions.WithLabelValues(r)
	}
	for _, z := range []string{zoneStatic, zoneSummary, zoneRecent, zoneRecalled} {
		m.zones.WithLabelValues(z)
	}
	for _, model := range s.models.all() {
		m.estimates.WithLabelValues(model.String())
	}
	for _, outcome := range []string{compacted, compactWhole, compactFailed, compactLate} {
		m.compactions.WithLabelValues(soft, outcome)
		m.compactions.WithLabelValues(hard, outcome)
	}
	for _, r := range []string{"found", "nothing", "failed", "skipped"} {
		m.recalls.WithLabelValues(r)
	}
	for _, p := range []string{partQueue, partContext, partProvider, partTools, partStore, partDelivery} {
		m.parts.WithLabelValues(p)
	}
	m.deadLetters(0, 0, time.Time{})
}

// watch adds the gauges of what can grow, and of the bounds.
func (m *metrics) watch(s *Service) {
	gauge := func(name, help string, read func() float64) {
		m.gauges = append(m.gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	bounded := func(name, help string, limit int, set string, read func() int) {
		gauge(name, help, func() float64 { return float64(read()) })
		gauge(name+"_limit", "Bound of "+name+", "+set+".", func() float64 { return float64(limit) })
	}
	bounded("blufio_inbox_messages", "Messages not yet answered.", s.cfg.MaxQueue, "agent.max_queue", func() int { n, _, _ := s.queue.counts(); return n })
	bounded("blufio_active_sessions", "Sessions with a message waiting or running.", s.cfg.MaxSessions, "agent.max_sessions", func() int { _, n, _ := s.queue.counts(); return n })
	bounded("blufio_turns_running", "Turns under way.", s.cfg.MaxTurns, "agent.max_turns", func() int { _, _, n := s.queue.counts(); return n })
	bounded("blufio_outbox_replies", "Replies not yet delivered.", s.cfg.MaxOutbox, "agent.max_outbox", s.undelivered)
	bounded("blufio_deliveries_running", "Deliveries under way, on all channels.", s.cfg.MaxDeliveries*len(s.outbox), "agent.max_deliveries: for each channel", func() int { return int(s.underway.Load()) })
	bounded("blufio_pictures_bytes", "Pictures that turns hold in memory, in whole slots of 64 KiB.", s.pictureStock.limit(), "agent.pictures_mb", s.pictureStock.held)
	bounded("blufio_material_bytes", "Text files, and what tools are asked and bring back, that turns hold in memory, in whole slots of 64 KiB; the first 16 KiB of each turn need none.", s.materialStock.limit(), "agent.material_mb", s.materialStock.held)
	bounded("blufio_agent_facts", "Facts to remember that the recall room has yet to take.", maxFacts, "fixed", func() int { return int(s.desk.waiting.Load()) })
	bounded("blufio_summaries_bytes", "Summaries of conversations in memory.", SummaryBytes, "fixed", func() int { return int(s.summaries.size()) })
	bounded("blufio_compactions_waiting", "Conversations that wait for a summary of their older part.", maxCompactable, "fixed", func() int { return len(s.compactor.waiting) })
	bounded("blufio_compactions_running", "Summaries of conversations being made, behind turns and before them.", maxCompactions+s.cfg.MaxTurns, "agent.max_turns: and two behind turns", s.compactor.running)
	bounded("blufio_compactions_postponed", "Conversations that could not be summarised and are let be for a while.", maxFailed, "fixed: beyond, all are forgotten and tried once more", s.compactor.postponed)
	// A number would be no better a bound: it would have to drop what was promised to be kept, or refuse new messages for the sake of old ones.
	bounded("blufio_dead_letters_oldest_seconds", "Age of the oldest dead letter; 0 when there is none.", int((s.cfg.KeepHistory + retentionEvery).Seconds()),
		"agent.keep_history: it is deleted then, within the hour, with all else that was said", func() int { return int(s.age(*m.deadSince.Load())) })
	gauge("blufio_sessions_kept", "Conversations in the database, idle ones included; agent.keep_history bounds their age.", func() float64 { return float64(m.sessions.Load()) })
	gauge("blufio_inbox_oldest_seconds", "Age of the oldest message not yet answered; 0 when there is none.", func() float64 { return s.age(s.queue.oldest()) })
	gauge("blufio_outbox_oldest_seconds", "Age of the oldest reply not yet delivered; 0 when there is none.", func() float64 {
		var oldest time.Time
		for _, o := range s.outbox {
			oldest = earlier(oldest, o.oldest())
		}
		return s.age(oldest)
	})
}

// compactionEnded counts one.
func (m *metrics) compactionEnded(when, outcome string) {
	m.compactions.WithLabelValues(when, outcome).Inc()
	switch outcome {
	case compacted:
		m.summed.Add(1)
	case compactWhole:
		m.keptWhole.Add(1)
	case compactFailed:
		m.unsummed.Add(1)
	}
}

// age is how long ago t was, in seconds; 0 for no time.
func (s *Service) age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, s.now().Sub(t).Seconds())
}

// earlier is the earlier of two times, of which the zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// deadLetters notes how many there are, and since when the oldest is dead.
func (m *metrics) deadLetters(messages, replies int64, since time.Time) {
	m.deadSince.Store(&since)
	m.dead.WithLabelValues("message").Set(float64(messages))
	m.dead.WithLabelValues("reply").Set(float64(replies))
}

// took notes a part of a response's time; one that it did not have is no part.
func (m *metrics) took(part string, d time.Duration) {
	if d > 0 {
		m.parts.WithLabelValues(part).Observe(d.Seconds())
	}
}

// ended notes the parts of a turn.
func (m *metrics) ended(t *turn) {
	m.took(partQueue, t.started.Sub(t.received))
	m.took(partContext, t.context)
	m.took(partProvider, t.asking)
	m.took(partTools, t.using)
	m.took(partStore, t.storing)
}

// failures are what goes wrong here beside answers on the bus.
func (m *metrics) failures() map[string]func() float64 {
	read := func(n *atomic.Int64) func() float64 { return func() float64 { return float64(n.Load()) } }
	return map[string]func() float64{"turn": read(&m.turnsFailed), "turn_broken": read(&m.brokenTurns), "delivery": read(&m.deliveriesFailed),
		"provider": read(&m.providersFailed), "settlement": read(&m.settlementsFailed)}
}

func (m *metrics) all() []prometheus.Collector {
	return append([]prometheus.Collector{m.messages, m.turns, m.refused, m.sessionsRefused, m.broken, m.unsettled, m.factsRefused, m.extractions, m.extracted, m.latency, m.parts,
		m.heartbeats, m.providerUp, m.providerFailures, m.dead,
		m.zones, m.estimates, m.compactions, m.recalls}, m.gauges...)
}
