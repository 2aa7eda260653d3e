// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"

	"github.com/blufio/blufio/services/serve"
)

// logger writes to standard error in the configured format. By itself that is text
// with a short time on a terminal, text without a time under systemd, whose journal
// has its own and is told the priority of each line, and JSON for everything else that
// collects logs. Its level may change.
func (a *app) logger(cfg serve.LogConfig) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(logLevel(cfg.Level))
	_, person := terminal(a.err)
	journal := journaled(a.err, a.getenv("JOURNAL_STREAM"))
	handler := func(w io.Writer) slog.Handler {
		if cfg.Format == "json" || cfg.Format != "text" && !person && !journal {
			return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
		}
		return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: shortTime(person, journal)})
	}
	if journal {
		return slog.New(newPriorities(a.err, handler)), level
	}
	return slog.New(handler(a.err)), level
}

// logLevel reads a level that the configuration has checked.
func logLevel(name string) slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return slog.LevelInfo
	}
	return level
}

// shortTime leaves out of a record's time what its reader knows anyway.
func shortTime(person, journal bool) func([]string, slog.Attr) slog.Attr {
	return func(groups []string, at slog.Attr) slog.Attr {
		if at.Key != slog.TimeKey || len(groups) > 0 {
			return at
		}
		switch {
		case journal:
			return slog.Attr{}
		case person:
			return slog.String(slog.TimeKey, at.Value.Time().Format("15:04:05.000"))
		}
		return at
	}
}

// journaled reports whether w is the journal: systemd names its device and inode in
// JOURNAL_STREAM, which children inherit even if their output goes elsewhere.
func journaled(w io.Writer, stream string) bool {
	f, ok := w.(*os.File)
	if !ok || stream == "" {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && fmt.Sprintf("%d:%d", st.Dev, st.Ino) == stream
}
