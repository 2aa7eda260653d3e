// SPDX-License-Identifier: MIT OR Apache-2.0

// Package logring keeps the last lines of the log in memory, for a report of what went
// wrong. It stands behind the redactor, and keeps what is said to everybody.
package logring

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// MaxBytes is how much is kept.
const MaxBytes = 256 << 10

const (
	maxLine = 8 << 10 // the rest of a longer one is not kept
	cut     = " [cut]\n"
)

// Ring is the last lines, the oldest first. The zero value is ready, and all methods may
// be called from any goroutine.
type Ring struct {
	mu    sync.Mutex
	lines []string
	bytes int
}

// Write keeps a line, and forgets as many old ones as it needs the place of.
func (r *Ring) Write(line []byte) (int, error) {
	kept := string(line[:min(len(line), maxLine)])
	if len(line) > maxLine {
		kept = string(bytes.ToValidUTF8(line[:maxLine-len(cut)], nil)) + cut
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, kept)
	r.bytes += len(kept)
	old := 0
	for r.bytes > MaxBytes {
		r.bytes -= len(r.lines[old])
		r.lines[old] = "" // the array lives on
		old++
	}
	r.lines = r.lines[old:]
	return len(line), nil
}

// Text is all lines that are kept.
func (r *Ring) Text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "")
}

// Bytes is how much is kept.
func (r *Ring) Bytes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}

// Metrics are the bound and its use.
func (r *Ring) Metrics() []prometheus.Collector {
	gauge := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read)
	}
	return []prometheus.Collector{
		gauge("blufio_log_kept_bytes", "Bytes of the last log lines, kept for a report.", func() float64 { return float64(r.Bytes()) }),
		gauge("blufio_log_kept_bytes_limit", "Bound of blufio_log_kept_bytes, fixed.", func() float64 { return MaxBytes }),
	}
}

// Handler logs to next, and keeps what is at least of level info, whatever next does.
func (r *Ring) Handler(next slog.Handler) slog.Handler {
	return &handler{next: next, ring: slog.NewTextHandler(r, nil)}
}

type handler struct{ next, ring slog.Handler }

var _ slog.Handler = (*handler)(nil)

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level) || h.ring.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, rec slog.Record) error {
	if h.ring.Enabled(ctx, rec.Level) {
		_ = h.ring.Handle(ctx, rec) // Write has no errors
	}
	if !h.next.Enabled(ctx, rec.Level) {
		return nil
	}
	return h.next.Handle(ctx, rec)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{next: h.next.WithAttrs(attrs), ring: h.ring.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{next: h.next.WithGroup(name), ring: h.ring.WithGroup(name)}
}
