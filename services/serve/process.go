// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"fmt"
	"runtime"
	"time"

	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/internal/logring"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// registerProcess adds what belongs to no room: the runtime, the process, the
// build, the database and the bus server.
func registerProcess(r *prometheus.Registry, version string, started time.Time, store *sqlite.Store, server *embedded.Server, ring *logring.Ring) error {
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "blufio_build_info", Help: "Always 1; the labels tell the build.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()}})
	build.Set(1)
	start := prometheus.NewGauge(prometheus.GaugeOpts{Name: "blufio_start_time_seconds",
		Help: "When the daemon was started, in seconds since 1970; process_start_time_seconds is absent where /proc/stat is hidden, as by our unit."})
	start.Set(float64(started.UnixMilli()) / 1000)
	all := append(append(store.Collectors(), ring.Metrics()...), build, start, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newBusServer(server))
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register process metrics: %w", err)
		}
	}
	return nil
}

// busServer shows the bus server's counters, read when they are scraped.
type busServer struct {
	server  *embedded.Server
	conns   *prometheus.Desc
	most    *prometheus.Desc
	bytes   *prometheus.Desc
	mostOf  *prometheus.Desc
	awaited *prometheus.Desc
	mostAw  *prometheus.Desc
	calls   *prometheus.Desc
	mostCal *prometheus.Desc
	replays *prometheus.Desc
	mostRep *prometheus.Desc
	pending *prometheus.Desc
	mostPen *prometheus.Desc
	in, out *prometheus.Desc
	slow    *prometheus.Desc
	refused *prometheus.Desc
}

func newBusServer(s *embedded.Server) *busServer {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &busServer{server: s,
		conns:   d("blufio_bus_connections", "Connections to the bus, the rooms' own included."),
		most:    d("blufio_bus_connections_limit", "Bound of blufio_bus_connections, bus.max_connections: more are refused."),
		bytes:   d("blufio_events_stream_bytes", "Bytes of events kept for replay."),
		mostOf:  d("blufio_events_stream_bytes_limit", "Bound of blufio_events_stream_bytes, bus.events_mb: the oldest events go first."),
		awaited: d("blufio_bus_awaited", "Answers that keys of the bus wait for."),
		mostAw:  d("blufio_bus_awaited_limit", "Bound of blufio_bus_awaited, fixed: beyond, keys that ask faster than they are answered are shut out for a while."),
		calls:   d("blufio_bus_key_calls", "Calls of and to one key of the bus that are under way, of the one that has most."),
		mostCal: d("blufio_bus_key_calls_limit", "Bound of blufio_bus_key_calls, fixed: callers beyond are told busy."),
		replays: d("blufio_bus_replays", "Replays of the event stream under way, or begun and not ended: its consumers."),
		mostRep: d("blufio_bus_replays_limit", "Bound of blufio_bus_replays, fixed: more are refused."),
		pending: d("blufio_bus_pending_bytes", "Bytes that wait in the bus for one client, of the one that has most."),
		mostPen: d("blufio_bus_pending_bytes_limit", "Bound of blufio_bus_pending_bytes, fixed: a client beyond is cut off."),
		in:      d("blufio_bus_messages_in_total", "Messages that the bus server received."),
		out:     d("blufio_bus_messages_out_total", "Messages that the bus server sent."),
		slow:    d("blufio_bus_slow_consumers_total", "Connections cut off because they did not keep up."),
		refused: d("blufio_bus_refused_total", "What the bus server refused: connections without a key, subjects without permission, messages over a limit.", "reason"),
	}
}

// Describe implements prometheus.Collector.
func (b *busServer) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(b, ch) }

// Collect implements prometheus.Collector.
func (b *busServer) Collect(ch chan<- prometheus.Metric) {
	st := b.server.Stats()
	send := func(d *prometheus.Desc, t prometheus.ValueType, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, float64(v), labels...)
	}
	send(b.conns, prometheus.GaugeValue, uint64(st.Connections))
	send(b.most, prometheus.GaugeValue, uint64(st.MaxConnections))
	send(b.bytes, prometheus.GaugeValue, st.StreamBytes)
	send(b.mostOf, prometheus.GaugeValue, st.MaxStreamBytes)
	send(b.awaited, prometheus.GaugeValue, uint64(st.Awaited))
	send(b.mostAw, prometheus.GaugeValue, uint64(st.MaxAwaited))
	send(b.calls, prometheus.GaugeValue, uint64(st.KeyCalls))
	send(b.mostCal, prometheus.GaugeValue, uint64(st.MaxKeyCalls))
	send(b.replays, prometheus.GaugeValue, uint64(st.Replays))
	send(b.mostRep, prometheus.GaugeValue, uint64(st.MaxReplays))
	send(b.pending, prometheus.GaugeValue, uint64(st.Pending))
	send(b.mostPen, prometheus.GaugeValue, uint64(st.MaxPending))
	send(b.in, prometheus.CounterValue, st.InMsgs)
	send(b.out, prometheus.CounterValue, st.OutMsgs)
	send(b.slow, prometheus.CounterValue, st.SlowConsumers)
	send(b.refused, prometheus.CounterValue, st.AuthErrors, "key")
	send(b.refused, prometheus.CounterValue, st.Denials, "permission")
	send(b.refused, prometheus.CounterValue, st.LimitErrors, "limit")
}
