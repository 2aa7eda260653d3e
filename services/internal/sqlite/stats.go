// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Stats is what the store has done since it was opened, and how it is now.
type Stats struct {
	Commits    uint64 // transactions committed, each with one fsync
	Writes     uint64 // answered calls of Write, failed ones included
	LazyWrites uint64 // the same for WriteLazy
	BatchMax   int    // most writes committed at once
	QueueDepth int    // writes waiting now
	QueueLimit int    // and how many may
	WALBytes   int64  // size of the write-ahead log
	DBBytes    int64  // size of the database file

	LastCommitAt time.Time // zero: none yet
	LastError    error     // last error of the database itself, not of a write function; nil: none
	LastErrorAt  time.Time
}

// meter counts the writer's work.
type meter struct {
	path string

	mu    sync.Mutex
	stats Stats
	fails uint64

	seconds prometheus.Histogram
	batch   prometheus.Histogram
}

func newMeter(path string) *meter {
	return &meter{
		path: path,
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "blufio_store_commit_seconds",
			Help:    "Time of one COMMIT, its fsync included.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9), // 0.1 ms … 6.6 s
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "blufio_store_batch_writes",
			Help:    "Writes gathered in one COMMIT.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9), // 1 … 256
		}),
	}
}

func (m *meter) committed(jobs int, took time.Duration) {
	m.seconds.Observe(took.Seconds())
	m.batch.Observe(float64(jobs))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Commits++
	m.stats.BatchMax = max(m.stats.BatchMax, jobs)
	m.stats.LastCommitAt = time.Now()
}

// failed notes an error of the database itself and returns it.
func (m *meter) failed(err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails++
	m.stats.LastError, m.stats.LastErrorAt = err, time.Now()
	return err
}

func (m *meter) answered(lazy bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if lazy {
		m.stats.LazyWrites++
	} else {
		m.stats.Writes++
	}
}

func (m *meter) snapshot() Stats {
	m.mu.Lock()
	s := m.stats
	m.mu.Unlock()
	s.WALBytes, s.DBBytes = fileSize(m.path+"-wal"), fileSize(m.path)
	return s
}

func (m *meter) failures() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fails
}

// fileSize is 0 for a file that is not there.
func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Stats reports counters and sizes. It does no database work.
func (s *Store) Stats() Stats {
	st := s.meter.snapshot()
	if s.writer != nil {
		st.QueueDepth, st.QueueLimit = s.writer.queue.len(), s.writer.queue.limit
	}
	return st
}

// Collectors are the store's metrics, all named blufio_store_*, for the
// caller's registry.
func (s *Store) Collectors() []prometheus.Collector {
	counter := func(name, help string, labels prometheus.Labels, value func(Stats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "blufio_store_" + name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value(s.Stats())) })
	}
	gauge := func(name, help string, value func(Stats) int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blufio_store_" + name, Help: help},
			func() float64 { return float64(value(s.Stats())) })
	}
	const writes = "Writes answered, failed ones included; lazy ones wait for another's commit."
	return []prometheus.Collector{
		s.meter.seconds,
		s.meter.batch,
		counter("commits_total", "Transactions committed.", nil, func(st Stats) uint64 { return st.Commits }),
		counter("commit_failures_total", "Commits and writes the database refused: full, busy, damaged, failing disk.", nil, func(Stats) uint64 { return s.meter.failures() }),
		counter("writes_total", writes, prometheus.Labels{"kind": "eager"}, func(st Stats) uint64 { return st.Writes }),
		counter("writes_total", writes, prometheus.Labels{"kind": "lazy"}, func(st Stats) uint64 { return st.LazyWrites }),
		gauge("queue_depth", "Writes waiting.", func(st Stats) int64 { return int64(st.QueueDepth) }),
		gauge("queue_depth_limit", "Bound of blufio_store_queue_depth, fixed: one more is refused as busy.", func(st Stats) int64 { return int64(st.QueueLimit) }),
		gauge("wal_bytes", "Size of the write-ahead log.", func(st Stats) int64 { return st.WALBytes }),
		gauge("db_bytes", "Size of the database file.", func(st Stats) int64 { return st.DBBytes }),
	}
}
