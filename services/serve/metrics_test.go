// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/governor/governortest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// families reads /metrics in the format that a Prometheus asks for first, which alone
// has native histograms.
func families(t *testing.T, info Info) map[string]*dto.MetricFamily {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, info.Gateway+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	decoder, out := expfmt.NewDecoder(resp.Body, expfmt.ResponseFormat(resp.Header)), map[string]*dto.MetricFamily{}
	for {
		var f dto.MetricFamily
		switch err := decoder.Decode(&f); {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			t.Fatal(err)
		}
		out[f.GetName()] = &f
	}
}

// series are the label values of a family, each as "a/b" in the order of the labels' names.
func series(f *dto.MetricFamily) (out []string) {
	for _, m := range f.GetMetric() {
		var values []string
		for _, l := range m.GetLabel() {
			values = append(values, l.GetValue())
		}
		out = append(out, strings.Join(values, "/"))
	}
	return out
}

func value(f *dto.MetricFamily, labels string) float64 {
	for i, s := range series(f) {
		if s == labels {
			m := f.GetMetric()[i]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return math.NaN()
}

// promised are families that dashboards and rules rely on, with some of the series
// that must be there before anything has happened.
var promised = map[string][]string{
	"blufio_messages_total":            {"gateway/in", "gateway/out", "telegram/in", "terminal/out", "outside/in", "outside/out"},
	"blufio_tokens_total":              {"offline/input", "offline/output", "offline/cache_read", "offline/cache_write"},
	"blufio_errors_total":              {"internal/agent", "turn/agent", "delivery/agent", "provider/agent", "restart/cost", "poll/telegram", "request/gateway", "stream/relay"},
	"blufio_active_sessions":           {""},
	"blufio_budget_usd":                {"day", "month"},
	"blufio_budget_remaining_usd":      {"day", "month"},
	"blufio_cost_usd_total":            {"offline/turn", "offline/tool", "offline/heartbeat", "offline/summary", "offline/recall", "offline/doctor", "offline/other"},
	"blufio_response_latency_seconds":  {""},
	"blufio_response_part_seconds":     {"queue", "context", "provider", "tools", "store", "delivery"},
	"blufio_memory_heap_bytes":         {""},
	"blufio_memory_rss_bytes":          {""},
	"blufio_memory_resident_bytes":     {""},
	"blufio_memory_limit_bytes":        {""},
	"blufio_memory_baseline_bytes":     {""},
	"blufio_memory_used_ratio":         {""},
	"blufio_memory_pressure":           {""},
	"blufio_memory_history_rows":       {""},
	"blufio_memory_shed_bytes_total":   {"agent", "gateway", "recall", "database"},
	"blufio_sessions_refused_total":    {""},
	"blufio_sessions_kept":             {""},
	"blufio_inbox_messages":            {""},
	"blufio_inbox_oldest_seconds":      {""},
	"blufio_outbox_replies":            {""},
	"blufio_outbox_oldest_seconds":     {""},
	"blufio_dead_letters":              {"message", "reply"},
	"blufio_bus_connections":           {""},
	"blufio_bus_messages_in_total":     {""},
	"blufio_bus_messages_out_total":    {""},
	"blufio_bus_slow_consumers_total":  {""},
	"blufio_bus_refused_total":         {"permission", "key", "limit"},
	"blufio_agent_provider_up":         {"offline"},
	"blufio_build_info":                nil,
	"go_goroutines":                    {""},
	"process_resident_memory_bytes":    {""},
	"blufio_start_time_seconds":        {""},
	"blufio_bus_handled_total":         {"msg.receive/ok", "gov.shed.{room}/failed"},
	"blufio_bus_handle_seconds":        {"msg.receive", "gov.shed.{room}"},
	"blufio_gateway_requests_total":    {"2xx//v1/messages", "5xx//v1/messages", "4xx//metrics", "aborted//v1/ws"},
	"blufio_gateway_denied_total":      {"bad_token", "expired_token", "host", "no_token", "origin", "rate_limited", "revoked_token", "scope"},
	"blufio_telegram_updates_total":    {"accepted", "refused"},
	"blufio_store_queue_depth":         {""},
	"blufio_events_stream_bytes":       {""},
	"blufio_memory_go_limit_bytes":     {""},
	"blufio_bus_trouble_total":         {"slow_consumer/agent"},
	"blufio_cost_refusals_total":       {"budget_exhausted"},
	"blufio_agent_heartbeats_total":    {"looked", "skipped"},
	"blufio_turns_total":               {"answered", "failed", "dead"},
	"blufio_bus_waiting":               {"msg.receive/agent"},
	"blufio_settlements_retried_total": {""},
	"blufio_keys":                      {""},
	"blufio_vault_secrets":             {""},
	"blufio_vault_open":                {""},
	"blufio_gateway_tokens":            {""},
	"blufio_gateway_tokens_ended":      {""},
	"blufio_jobs_running":              {""},
	"blufio_jobs_kept":                 {""},
	"blufio_hub_connected":             {""},
	"blufio_hub_behind":                {""},
	"blufio_hub_in_flight":             {""},
	"blufio_hub_questions":             {""},
	"blufio_hub_calls_total":           {"answered", "failed", "refused"},
	"blufio_denied_strangers":          {"bus", "gateway", "telegram"},
	"blufio_bus_awaited":               {""},
	"blufio_bus_key_calls":             {""},
}

// began reports whether a counter may have counted at the first scrape: what the start
// itself does.
func began(name, labels string) bool {
	switch name {
	case "blufio_bus_handled_total": // the rooms have asked each other
		return strings.HasSuffix(labels, "/ok")
	case "blufio_bus_messages_in_total", "blufio_bus_messages_out_total", "blufio_events_published_total", "blufio_store_commits_total", "blufio_store_writes_total", "blufio_memory_shed_bytes_total":
		return true
	}
	return false
}

// describedBy are the families that the collectors of a registry announce, whether they
// have a series or not.
func describedBy(r *prometheus.Registry) map[string]bool {
	all, names := make(chan *prometheus.Desc), map[string]bool{}
	go func() {
		defer close(all)
		r.Describe(all)
	}()
	for d := range all {
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ := strings.Cut(rest, `"`)
		names[name] = true
	}
	return names
}

// At the first scrape of a daemon that has done nothing every family is there that any
// collector has announced, with every label that is known, counters at 0, and no budget as an infinite one. What
// it does then adds no series.
func TestFirstScrape(t *testing.T) {
	described := map[string]bool{}
	c, info := daemonOf(t, func(o *Options) {
		o.Config.Cost.DailyUSD, o.Config.Cost.MonthlyUSD = 0, 0
		o.Memory = governortest.Readable()
		o.counted = func(r *prometheus.Registry) { described = describedBy(r) }
	})
	first := families(t, info)
	if len(described) < 100 {
		t.Errorf("only %d families are described", len(described))
	}
	for name, wanted := range promised {
		f := first[name]
		if f == nil {
			t.Errorf("%s is absent", name)
			continue
		}
		for _, s := range wanted {
			if !slices.Contains(series(f), s) {
				t.Errorf("%s has no %q, only %q", name, s, series(f))
			}
		}
	}
	for name, f := range first {
		for i, m := range f.GetMetric() {
			if n := m.GetCounter().GetValue(); n != 0 && strings.HasPrefix(name, "blufio_") && !began(name, series(f)[i]) {
				t.Errorf("%s begins at %v for %q", name, n, series(f)[i])
			}
		}
	}
	for name := range described {
		if strings.HasPrefix(name, "blufio_") && first[name] == nil {
			t.Errorf("%s is described, and absent", name)
		}
	}
	for _, period := range []string{"day", "month"} {
		for _, name := range []string{"blufio_budget_usd", "blufio_budget_remaining_usd"} {
			if v := value(first[name], period); !math.IsInf(v, 1) {
				t.Errorf("without a budget, %s is %v for the %s", name, v, period)
			}
		}
	}
	if r := say(t, c, "hello"); r.State != bus.StateAnswered {
		t.Fatalf("%+v", r)
	}
	var after map[string]*dto.MetricFamily
	bustest.Eventually(t, "the latency is measured", func() bool { // both ends of it: a scrape may fall between them
		after = families(t, info)
		return value(after["blufio_response_latency_seconds"], "") == 1 && value(after["blufio_response_part_seconds"], "delivery") == 1
	})
	for _, part := range []string{"queue", "context", "provider", "store", "delivery"} {
		if n := value(after["blufio_response_part_seconds"], part); n != 1 {
			t.Errorf("%s was measured %v times", part, n)
		}
	}
	if h := after["blufio_response_latency_seconds"].GetMetric()[0].GetHistogram(); h.GetSampleCount() != 1 || len(h.GetBucket()) < 10 || len(h.GetPositiveSpan()) == 0 {
		t.Errorf("the latency is not in classic and native buckets: %v", h)
	}
	for name, f := range after {
		if was := first[name]; strings.HasPrefix(name, "blufio_") && (was == nil || len(was.GetMetric()) != len(f.GetMetric())) {
			t.Errorf("%s had the series %q and has %q", name, series(was), series(f))
		}
	}
}

// Every bound has a gauge of what it bounds, nothing is over its bound, and its help
// names the key that sets it, if one does.
func TestEveryLimitHasItsUse(t *testing.T) {
	_, info := daemonOf(t, func(*Options) {})
	all, keys := families(t, info), config.Reference(Defaults())
	bounds := 0
	for name, f := range all {
		of, ok := strings.CutSuffix(name, "_limit")
		if !ok {
			continue
		}
		bounds++
		use := all[of]
		if use == nil || !slices.Equal(series(use), series(f)) {
			t.Errorf("%s is the bound of nothing, or of other series", name)
			continue
		}
		set, _, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(f.GetHelp(), "Bound of "+of+", "), "."), ":")
		if set != "fixed" && set != "set by the system" && !strings.Contains(keys, "| `"+set+"` |") {
			t.Errorf("%s does not say which key sets it, or that it is fixed: %q", name, f.GetHelp())
		}
		for i, m := range f.GetMetric() {
			if used, limit := use.GetMetric()[i].GetGauge().GetValue(), m.GetGauge().GetValue(); limit <= 0 || used < 0 || used > limit {
				t.Errorf("%s %q is %v of %v", of, series(f)[i], used, limit)
			}
		}
	}
	if bounds < 40 {
		t.Errorf("only %d bounds", bounds)
	}
}

// What promtool would say of the names and the helps.
func TestMetricsAreWellNamed(t *testing.T) {
	_, info := daemonOf(t, func(*Options) {})
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(scrape(t, info)))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range all {
		if !strings.HasPrefix(name, "blufio_") {
			continue
		}
		problems, err := promlint.NewWithMetricFamilies([]*dto.MetricFamily{f}).Lint()
		if err != nil {
			t.Error(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
