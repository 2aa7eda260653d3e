// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import "github.com/prometheus/client_golang/prometheus"

var (
	heapDesc     = desc("heap_bytes", "Bytes of objects on the Go heap, live and not yet swept.")
	rssDesc      = desc("rss_bytes", "Resident set of the process; absent when it cannot be read.")
	limitDesc    = desc("limit_bytes", "What the resident set is held against: the configured limit or the control group's.")
	baselineDesc = desc("baseline_bytes", "Fixed weight that the thresholds leave out.")
	pressureDesc = desc("pressure", "Memory pressure level: 0 normal, 1 warn, 2 critical.")
)

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("blufio_memory_"+name, help, nil, nil)
}

// gauges tell the last reading.
type gauges struct{ s *Service }

// Describe implements prometheus.Collector.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{heapDesc, rssDesc, limitDesc, baselineDesc, pressureDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. What a failed reading left behind is
// not told.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	r := g.s.last()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(limitDesc, float64(r.Limit))
	gauge(baselineDesc, float64(r.Baseline))
	if r.err == nil {
		gauge(heapDesc, float64(r.Heap))
		gauge(rssDesc, float64(r.RSS))
		gauge(pressureDesc, rank(r.Pressure))
	}
}
