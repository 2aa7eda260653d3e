// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	mb  = 1e6     // in which memory is measured, judged and drawn, as in the bench
	mib = 1 << 20 // in which limits are given: that of the control group, and memory.limit_mb
)

// unknown stands for what could not be read.
const unknown = -1

// sample is one look at the daemon; sizes are in bytes.
type sample struct {
	at        time.Duration // since the beginning
	phase     string
	turns     int64 // messages accepted; what became of them is looked up at the end
	rss       int64
	anonymous int64 // of rss, what no file backs
	heap      int64 // Go's, as the daemon tells it
	resident  int64 // Go's, not given back
	pressure  int64 // 0, 1 or 2
	inbox     int64
	refused   int64 // new sessions, for memory
}

// columns name the fields of a sample in the CSV file.
var columns = []string{"seconds", "phase", "turns", "rss_bytes", "anonymous_bytes", "heap_bytes", "go_resident_bytes", "pressure", "inbox", "sessions_refused"}

func (s sample) record() []string {
	out := []string{strconv.FormatFloat(s.at.Seconds(), 'f', 2, 64), s.phase}
	for _, n := range []int64{s.turns, s.rss, s.anonymous, s.heap, s.resident, s.pressure, s.inbox, s.refused} {
		if n == unknown {
			out = append(out, "")
			continue
		}
		out = append(out, strconv.FormatInt(n, 10))
	}
	return out
}

// sampler reads the daemon now and then.
type sampler struct {
	d      *daemon
	book   *book
	every  time.Duration
	client *http.Client
	began  time.Time

	mu      sync.Mutex
	phase   string
	samples []sample
}

func newSampler(d *daemon, b *book, every time.Duration) *sampler {
	return &sampler{d: d, book: b, every: every, client: &http.Client{Timeout: 3 * time.Second}, began: time.Now()}
}

// askEvery is how often the daemon is asked for its metrics; between, the last answer
// holds. A scrape is garbage of its own, so that where rest is measured it comes as
// rarely as a Prometheus asks.
func askEvery(phase string) time.Duration {
	switch phase {
	case idle, rest:
		return 15 * time.Second
	case steady, burst, million:
		return 5 * time.Second
	}
	return time.Second
}

// run samples until ctx ends.
func (s *sampler) run(ctx context.Context) {
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	defer s.client.CloseIdleConnections()
	told, asked := untold(), time.Time{}
	for {
		if time.Since(asked) >= askEvery(s.current())-s.every/2 {
			asked = time.Now()
			told = s.ask(ctx)
		}
		s.take(told)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// take adds a sample, unless the process is gone.
func (s *sampler) take(told map[string]int64) {
	rss, anonymous, err := memoryOf(s.d.at().PID)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples = append(s.samples, sample{at: time.Since(s.began), phase: s.phase, turns: s.book.accepted.Load(), rss: rss, anonymous: anonymous,
		heap: told[heapMetric], resident: told[residentMetric], pressure: told[pressureMetric], inbox: told[inboxMetric], refused: told[refusedMetric]})
}

// enter says which phase begins.
func (s *sampler) enter(phase string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = phase
}

// current is the phase under way.
func (s *sampler) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase
}

// all returns what there is so far.
func (s *sampler) all() []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sample(nil), s.samples...)
}

// last is the latest sample.
func (s *sampler) last() (sample, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.samples) == 0 {
		return sample{}, false
	}
	return s.samples[len(s.samples)-1], true
}

// The gauges that are read; see METRICS.md.
const (
	heapMetric     = "blufio_memory_heap_bytes"
	residentMetric = "blufio_memory_resident_bytes"
	pressureMetric = "blufio_memory_pressure"
	inboxMetric    = "blufio_inbox_messages"
	refusedMetric  = "blufio_sessions_refused_total"
)

func untold() map[string]int64 {
	return map[string]int64{heapMetric: unknown, residentMetric: unknown, pressureMetric: unknown, inboxMetric: unknown, refusedMetric: unknown}
}

// ask scrapes the daemon. What it does not tell in time is unknown.
func (s *sampler) ask(ctx context.Context) map[string]int64 {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.d.at().Gateway+"/metrics", nil)
	if err != nil {
		return untold()
	}
	res, err := s.client.Do(req)
	if err != nil {
		return untold()
	}
	defer res.Body.Close()
	return readMetrics(res.Body)
}

// readMetrics finds the gauges in the text format; they have no labels.
func readMetrics(r io.Reader) map[string]int64 {
	out := untold()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if _, wanted := out[name]; !ok || !wanted {
			continue
		}
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = int64(n)
		}
	}
	return out
}

// memoryOf reads a process's resident set, and what of it no file backs.
func memoryOf(pid int) (rss, anonymous int64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	rss, anonymous = unknown, unknown
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case name == "VmRSS":
			rss = kb << 10
		case name == "RssAnon":
			anonymous = kb << 10
		}
	}
	if rss == unknown {
		return 0, 0, errors.New("the process has no memory: it has ended")
	}
	return rss, anonymous, nil
}

// writeCSV writes samples as a table, from which the rows of the report that come from
// readings can be made again. What became of messages and of the daemon is not in it.
func writeCSV(path string, all []sample) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := csv.NewWriter(f)
	if err := w.Write(columns); err != nil {
		return err
	}
	for _, s := range thin(all, mostRows) {
		if err := w.Write(s.record()); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
