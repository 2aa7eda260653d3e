// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"io"
	"log/slog"
	"sync"
)

// priorities begins every line with its priority, as sd-daemon(3) has it: <3> for an
// error, <4> a warning, <6> what is worth knowing, <7> details. The journal takes it off
// the line, and `journalctl -p warning` finds by it.
type priorities struct {
	slog.Handler
	line *priorityLine
}

// priorityLine is shared by all handlers that were made of one.
type priorityLine struct {
	w    io.Writer
	mu   sync.Mutex
	next string // of the record that is being written
}

func newPriorities(w io.Writer, handler func(io.Writer) slog.Handler) priorities {
	l := &priorityLine{w: w}
	return priorities{handler(l), l}
}

// Handle writes a record. Handlers of package slog write each with one call.
func (p priorities) Handle(ctx context.Context, r slog.Record) error {
	p.line.mu.Lock()
	defer p.line.mu.Unlock()
	p.line.next = priority(r.Level)
	return p.Handler.Handle(ctx, r)
}

func (p priorities) WithAttrs(attrs []slog.Attr) slog.Handler {
	return priorities{p.Handler.WithAttrs(attrs), p.line}
}

func (p priorities) WithGroup(name string) slog.Handler {
	return priorities{p.Handler.WithGroup(name), p.line}
}

func (l *priorityLine) Write(b []byte) (int, error) {
	if _, err := l.w.Write(append([]byte(l.next), b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func priority(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "<3>"
	case level >= slog.LevelWarn:
		return "<4>"
	case level >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
