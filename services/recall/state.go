// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus"
)

// critically is for how long vectors stay away after memory was critically short.
const critically = 30 * time.Second

// shed answers gov.shed: under pressure the vectors in memory go, and what an embedder can have again. That the
// embedder could not is no error of the answer, which would lose count of what has gone.
func (s *Service) shed(_ context.Context, q bus.Shed) (bus.Freed, error) {
	if q.Pressure == bus.PressureNormal {
		return bus.Freed{}, nil
	}
	until := time.Time{}
	if q.Pressure == bus.PressureCritical {
		until = s.d.Now().Add(critically)
	}
	freed := s.shelf.shed(until) + s.cache.reset()
	if e := s.engine.get(); e != nil {
		n, err := e.Shed()
		if err != nil {
			s.d.Logger.Warn("embedder gives up less memory than it could", "service", name, "err", err)
		}
		freed += n
	}
	return bus.Freed{Bytes: freed}, nil
}

// status answers recall.status.
func (s *Service) status(ctx context.Context, _ bus.RecallStatusQuery) (bus.RecallStatus, error) {
	st := bus.RecallStatus{Enabled: s.cfg.Enable, Kind: bus.RecallNone, Limit: int64(s.cfg.MaxEntries), IndexLimit: s.shelf.max}
	var err error
	st.Entries, st.History, err = count(func(q string, args ...any) *sql.Row { return s.d.Store.QueryRow(ctx, q, args...) })
	if err != nil {
		return st, err
	}
	s.rows.Store(st.Entries + st.History)
	if e := s.engine.get(); e != nil {
		st.Embedder, st.Kind = e.Name(), e.kind
	}
	if err := s.engine.trouble(); err != nil {
		st.Problem = err.Error()
	}
	n, bytes, _ := s.shelf.state()
	st.Indexed, st.IndexBytes, st.Pending = int64(n), bytes, s.lacking()
	if st.Kind == bus.RecallNone {
		st.Pending = st.Entries
	}
	return st, nil
}

// configured says in words which embedder is wanted.
func (c Config) configured() string {
	switch {
	case c.ModelDir != "":
		return "the model in " + c.ModelDir
	case c.Server.On():
		return "the server at " + c.Server.BaseURL
	}
	return "the built-in embedder"
}

// setting is what is to be checked when it does not work.
func (c Config) setting() string {
	if c.ModelDir != "" {
		return "recall.model_dir"
	}
	return "[recall.server]"
}

// health tells why vectors are not compared, or not all.
func (s *Service) health() []bus.Problem {
	var problems []bus.Problem
	if err := s.engine.trouble(); err != nil {
		problems = append(problems, bus.Problem{Code: "embedder_failed",
			Title: fmt.Sprintf("facts are found by their words alone: %s does not work: %v", s.cfg.configured(), err),
			Hint:  "check " + s.cfg.setting() + "; it is tried again every minute"})
	}
	if _, _, left := s.shelf.state(); left > 0 {
		problems = append(problems, bus.Problem{Code: "index_full",
			Title: fmt.Sprintf("%d facts are found by their words alone: their vectors have no room in %d MiB", left, s.cfg.IndexMB),
			Hint:  "raise recall.index_mb, or lower recall.max_entries"})
	}
	return problems
}

// meter counts what the room has done.
type meter struct {
	evicted, embedded, failed, tokens prometheus.Counter
	seconds                           prometheus.Histogram
}

func newMeter() *meter {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &meter{
		evicted:  counter("blufio_recall_evicted_total", "Facts given up because there were more than recall.max_entries."),
		embedded: counter("blufio_recall_embedded_total", "Vectors of facts that were made."),
		failed:   counter("blufio_recall_embed_failures_total", "Batches of facts, or questions, that no vectors were made of."),
		tokens:   counter("blufio_recall_server_tokens_total", "Tokens of texts that the server of [recall.server] has counted; what they cost is not in the ledger."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "blufio_recall_search_seconds", Help: "Time of one search.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 7)}), // 0.5 ms … 2 s
	}
}

// lacking is how many facts have no vector yet: no more than there may be facts, also
// where some of them went before they got one, which is counted when there is time.
func (s *Service) lacking() int64 {
	return min(max(s.pending.Load(), 0), int64(s.cfg.MaxEntries))
}

func (s *Service) metrics() []prometheus.Collector {
	gauge := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read)
	}
	fixed := func(v int64) func() float64 { return func() float64 { return float64(v) } }
	return []prometheus.Collector{s.meter.evicted, s.meter.embedded, s.meter.failed, s.meter.tokens, s.meter.seconds,
		gauge("blufio_recall_entries", "Facts that are kept, history included.", func() float64 { return float64(s.rows.Load()) }),
		gauge("blufio_recall_entries_limit", "Bound of blufio_recall_entries, recall.max_entries: those of the least value go.", fixed(int64(s.cfg.MaxEntries))),
		gauge("blufio_recall_pending", "Facts whose vectors are still to be made.", func() float64 { return float64(s.lacking()) }),
		gauge("blufio_recall_pending_limit", "Bound of blufio_recall_pending, recall.max_entries.", fixed(int64(s.cfg.MaxEntries))),
		gauge("blufio_recall_index_bytes", "Memory of the vectors that are searched.", func() float64 { _, n, _ := s.shelf.state(); return float64(n) }),
		gauge("blufio_recall_index_bytes_limit", "Bound of blufio_recall_index_bytes, recall.index_mb: vectors become less precise, then facts are found by words alone.", fixed(s.shelf.max)),
		gauge("blufio_recall_questions_bytes", "Memory of the vectors of the last questions; always 0 with the built-in embedder, which makes them anew.", func() float64 { return float64(s.cache.size()) }),
		gauge("blufio_recall_questions_bytes_limit", "Bound of blufio_recall_questions_bytes, fixed: the oldest go.", fixed(s.cache.max)),
		gauge("blufio_recall_baseline_bytes", "Memory of the embedding model, as measured; the governor's thresholds leave it out.", func() float64 { all, _ := s.Baseline(); return float64(all) }),
	}
}
