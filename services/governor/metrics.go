// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"math"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus"
)

// newShedBytes counts what was shed, by room.
func newShedBytes() *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_memory_shed_bytes_total",
		Help: "Bytes that rooms gave up under memory pressure and in pauses; \"database\" is SQLite's caches."}, []string{"room"})
	for _, room := range append([]string{database}, bus.MemoryShed.Spec().Heard...) {
		c.WithLabelValues(room)
	}
	return c
}

var (
	heapDesc       = desc("heap_bytes", "Bytes of objects on the Go heap, live and not yet swept.")
	residentDesc   = desc("resident_bytes", "Bytes that the Go runtime has taken from the system and not given back: the heap, stacks and its own.")
	goLimitDesc    = desc("go_limit_bytes", "Memory limit of the Go runtime: what the two limits leave for it.")
	rssDesc        = desc("rss_bytes", "Resident set of the process, its program file's pages included; absent when it cannot be read.")
	anonymousDesc  = desc("anonymous_bytes", "What of the resident set is backed by no file; absent where the kernel does not tell.")
	rssLimitDesc   = desc("rss_bytes_limit", "Bound of blufio_memory_rss_bytes, memory.limit_mb.")
	limitDesc      = desc("limit_bytes", "The configured limit or the control group's, whichever is lower; how near either is tells blufio_memory_used_ratio, not the resident set over this.")
	baselineDesc   = desc("baseline_bytes", "Fixed weight that the thresholds leave out.")
	groupDesc      = desc("cgroup_bytes", "What of the control group's memory the kernel cannot get back (anonymous, tmpfs, sockets and its own), which is held against its limit; absent without one.")
	groupAllDesc   = desc("cgroup_current_bytes", "All memory of the control group, files' pages included; absent without one.")
	groupLimitDesc = desc("cgroup_bytes_limit", "Bound of blufio_memory_cgroup_bytes, set by the system: +Inf without one; absent without a control group.")
	stallDesc      = prometheus.NewDesc("blufio_memory_stall_percent",
		"Share of the last 10 s in which some task, or all at once, waited for memory; absent where the kernel does not tell.", []string{"tasks"}, nil)
	historyDesc      = desc("history_rows", "Rows of memory's history, one for each full hour, which doctor compares with now.")
	historyLimitDesc = desc("history_rows_limit", "Bound of blufio_memory_history_rows, fixed: the oldest are forgotten.")
	usedDesc         = desc("used_ratio", "Share taken of the limit or of the control group's, whichever is nearer, as the thresholds see it; absent when it cannot be read.")
	pressureDesc     = desc("pressure", "Memory pressure level: 0 normal, 1 warn, 2 critical.")
)

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("blufio_memory_"+name, help, nil, nil)
}

// gauges tell the last reading.
type gauges struct{ s *Service }

// Describe implements prometheus.Collector.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{heapDesc, residentDesc, goLimitDesc, rssDesc, rssLimitDesc, anonymousDesc, limitDesc, baselineDesc,
		groupDesc, groupAllDesc, groupLimitDesc, stallDesc, usedDesc, pressureDesc, historyDesc, historyLimitDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. What a failed reading left behind is
// not told.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	r := g.s.last()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	known := func(d *prometheus.Desc, n int64) {
		if n > 0 {
			gauge(d, float64(n))
		}
	}
	gauge(limitDesc, float64(r.Limit))
	gauge(rssLimitDesc, float64(g.s.cfg.limit()))
	gauge(baselineDesc, float64(r.Baseline))
	gauge(historyDesc, float64(g.s.kept.Load()))
	gauge(historyLimitDesc, maxHours)
	if r.err != nil {
		return
	}
	gauge(heapDesc, float64(r.Heap))
	gauge(residentDesc, float64(r.resident))
	gauge(goLimitDesc, float64(r.goLimit))
	gauge(rssDesc, float64(r.RSS))
	_, percent, _ := r.nearer(g.s.cfg)
	gauge(usedDesc, percent/100)
	gauge(pressureDesc, float64(rank(r.Pressure)))
	known(anonymousDesc, r.anonymous)
	known(groupAllDesc, r.current)
	if r.group > 0 {
		gauge(groupDesc, float64(r.group))
		gauge(groupLimitDesc, orInf(r.groupLimit))
	}
	if r.stalls {
		gauge(stallDesc, r.stall.some, "some")
		gauge(stallDesc, r.stall.full, "all")
	}
}

// orInf is a limit as a gauge tells it.
func orInf(limit int64) float64 {
	if limit == 0 {
		return math.Inf(1)
	}
	return float64(limit)
}
