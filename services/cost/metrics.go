// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus"
)

// other stands for label values beyond the bounds.
const other = "other"

// maxModelLabels bounds the models that get a label value of their own.
const maxModelLabels = 50

// purposes are the classes of what is paid for.
var purposes = []string{"turn", "tool", "heartbeat", "summary", "recall", purposeDoctor, other}

// purposeClass is the purpose up to its colon, from a closed set.
func purposeClass(purpose string) string {
	class, _, _ := strings.Cut(purpose, ":")
	if slices.Contains(purposes, class) {
		return class
	}
	return other
}

// kinds are the kinds of tokens of a call.
func kinds(u bus.Usage) map[string]int64 {
	return map[string]int64{"input": u.Input, "output": u.Output, "cache_read": u.CacheRead, "cache_write": u.CacheWrite}
}

// meter counts what was booked, refused and released since the daemon started.
type meter struct {
	usd      *prometheus.CounterVec
	tokens   *prometheus.CounterVec
	refusals *prometheus.CounterVec
	released prometheus.Counter

	mu     sync.Mutex
	models map[string]bool // with a label value of their own
}

func newMeter() *meter {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &meter{
		usd:      counter("blufio_cost_usd_total", "US dollars booked since the daemon started.", "model", "purpose"),
		tokens:   counter("blufio_tokens_total", "Tokens booked since the daemon started.", "model", "type"),
		refusals: counter("blufio_cost_refusals_total", "Model calls refused, by error code.", "code"),
		released: prometheus.NewCounter(prometheus.CounterOpts{Name: "blufio_cost_reservations_released_total",
			Help: "Reservations released without a settlement: left by a crash, or too old."}),
		models: make(map[string]bool),
	}
}

// label returns the model's label value.
func (m *meter) label(model string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.models[model] {
		if len(m.models) >= maxModelLabels {
			return other
		}
		m.models[model] = true
	}
	return model
}

// prime makes the series of the configured models, so that a rate begins at zero.
func (m *meter) prime(models []string) {
	for _, code := range []bus.Code{bus.CodeBudget, bus.CodeStopped, bus.CodePriceUnknown, bus.CodeInvalid, bus.CodeBusy, bus.CodeUnavailable, bus.CodeInternal} {
		m.refusals.WithLabelValues(string(code))
	}
	for _, model := range models {
		model = m.label(model)
		for _, p := range purposes {
			m.usd.WithLabelValues(model, p)
		}
		for kind := range kinds(bus.Usage{}) {
			m.tokens.WithLabelValues(model, kind)
		}
	}
}

func (m *meter) booked(f bus.CostFact) {
	model := m.label(f.Model)
	m.usd.WithLabelValues(model, purposeClass(f.Purpose)).Add(dollars(f.Amount))
	for kind, n := range kinds(f.Usage) {
		m.tokens.WithLabelValues(model, kind).Add(float64(n))
	}
}

func (m *meter) refused(code bus.Code) { m.refusals.WithLabelValues(string(code)).Inc() }

func dollars(m bus.MicroUSD) float64 { return float64(m) / 1e6 }

var (
	remainingDesc = prometheus.NewDesc("blufio_budget_remaining_usd",
		"US dollars left of a budget, +Inf without one; negative when it was passed.", []string{"period"}, nil)
	budgetDesc   = prometheus.NewDesc("blufio_budget_usd", "US dollars of a budget, cost.daily_usd and cost.monthly_usd; +Inf without one.", []string{"period"}, nil)
	openDesc     = prometheus.NewDesc("blufio_cost_reservations", "Model calls with money set aside.", nil, nil)
	reservedDesc = prometheus.NewDesc("blufio_cost_reserved_usd", "US dollars set aside for model calls under way.", nil, nil)
)

// gauges are computed when they are read, so that a new day needs no timer.
type gauges struct{ s *Service }

// Describe implements prometheus.Collector.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- remainingDesc
	ch <- budgetDesc
	ch <- openDesc
	ch <- reservedDesc
}

// Collect implements prometheus.Collector. Before the room has started there is
// nothing to tell.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	b, ok := g.s.current()
	if !ok {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, a := range []account{b.day, b.month} {
		budget, left := math.Inf(1), math.Inf(1)
		if a.limit > 0 {
			budget, left = dollars(a.limit), dollars(a.limit-a.spent)
		}
		gauge(budgetDesc, budget, a.period)
		gauge(remainingDesc, left, a.period)
	}
	gauge(openDesc, float64(b.open))
	gauge(reservedDesc, dollars(b.reserved))
}
