// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"slices"
	"time"
)

const (
	hourLong   = time.Hour
	middleOf   = 60 // readings of an hour, a minute apart, of which the middle one is kept
	leastOf    = 50 // with fewer, as after a suspension, it was no hour
	sampleLong = hourLong / middleOf
)

// hour is what is kept of an hour's readings, in bytes.
type hour struct {
	at             time.Time // its end
	rss, own, heap span      // own is what no file backs, without the fixed weight: what can leak
	weight         int64     // fixed, and part of rss
}

type span struct{ least, middle, most int64 }

// hours gathers readings. It allocates nothing, for it sees every one. The first hour
// after the start is not kept: a process that has done nothing yet is smaller than it
// will ever be again.
type hours struct {
	began          time.Time // the hour under way; zero before the first reading
	settled        bool      // the first hour is over
	sampled        time.Time
	n              int
	rss, own, heap gather
	weight         int64
	mixed          bool // the weight changed meanwhile: the hour is of neither
}

type gather struct {
	least, most int64
	samples     [middleOf]int64
}

func (g *gather) begin() { g.least, g.most = 0, 0 }

func (g *gather) see(v int64) {
	if g.least == 0 || v < g.least {
		g.least = v
	}
	g.most = max(g.most, v)
}

func (g *gather) span(n int) span {
	slices.Sort(g.samples[:n])
	return span{g.least, g.samples[n/2], g.most}
}

// take adds a reading. With the one that ends an hour, that hour is returned.
func (h *hours) take(r *reading, now time.Time) (full hour, ok bool) {
	if h.began.IsZero() {
		h.begin(now)
	}
	if now.Sub(h.began) >= hourLong {
		if ok = h.settled && h.n >= leastOf && !h.mixed; ok {
			full = hour{now, h.rss.span(h.n), h.own.span(h.n), h.heap.span(h.n), h.weight}
		}
		h.settled = true
		h.begin(now)
	}
	h.mixed = h.mixed || h.rss.least > 0 && r.Baseline != h.weight
	h.weight = r.Baseline
	h.rss.see(r.RSS)
	h.own.see(r.own())
	h.heap.see(r.Heap)
	if h.n < middleOf && now.Sub(h.sampled) >= sampleLong {
		h.rss.samples[h.n], h.own.samples[h.n], h.heap.samples[h.n] = r.RSS, r.own(), r.Heap
		h.n, h.sampled = h.n+1, now
	}
	return full, ok
}

func (h *hours) begin(now time.Time) {
	h.began, h.sampled, h.n, h.mixed = now, time.Time{}, 0, false
	h.rss.begin()
	h.own.begin()
	h.heap.begin()
}

// own is what the process holds of its own: pages of files, which come and go, and what
// else is fixed weight are not.
func (r *reading) own() int64 {
	if r.anonymous > 0 {
		return max(0, r.anonymous-r.weight)
	}
	return max(0, r.RSS-r.Baseline)
}
