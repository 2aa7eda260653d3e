// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/blufio/blufio/services/serve"
)

// logTo logs to a file as a daemon does, under systemd if journal is set, and returns what
// is in it then.
func logTo(t *testing.T, cfg serve.LogConfig, journal bool, log func(*slog.Logger, *slog.LevelVar)) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st, stream := info.Sys().(*syscall.Stat_t), "8:1" // of something else: a parent's
	if journal {
		stream = fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	}
	a := &app{err: f, environ: []string{"JOURNAL_STREAM=" + stream}}
	log(a.logger(cfg))
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestJournalHearsPriorities(t *testing.T) {
	say := func(l *slog.Logger, _ *slog.LevelVar) {
		l.Debug("hidden")
		l.With("service", "agent").Info("one", "n", 1)
		l.WithGroup("g").Warn("two", "lines", "a\nb")
		l.Error("three")
	}
	text := logTo(t, serve.LogConfig{Level: "info", Format: "auto"}, true, say)
	if want := "<6>level=INFO msg=one service=agent n=1\n<4>level=WARN msg=two g.lines=\"a\\nb\"\n<3>level=ERROR msg=three\n"; text != want {
		t.Errorf("the journal gets\n%swant\n%s", text, want)
	}
	text = logTo(t, serve.LogConfig{Level: "debug", Format: "json"}, true, say)
	if lines := strings.Split(text, "\n"); len(lines) != 5 || !strings.HasPrefix(lines[0], `<7>{"time":`) {
		t.Errorf("the journal gets\n%s", text)
	}
}

// What collects lines elsewhere gets JSON, and no priorities that it would not know.
func TestLogElsewhereIsJSON(t *testing.T) {
	text := logTo(t, serve.LogConfig{Level: "info", Format: "auto"}, false, func(l *slog.Logger, level *slog.LevelVar) {
		l.Info("one")
		level.Set(slog.LevelDebug)
		l.Debug("two")
	})
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		var got struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.Msg != []string{"one", "two"}[i] {
			t.Errorf("line %d: %v %q", i, err, line)
		}
	}
}

func TestPrioritiesDoNotMix(t *testing.T) {
	text := logTo(t, serve.LogConfig{Level: "debug", Format: "auto"}, true, func(l *slog.Logger, _ *slog.LevelVar) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 200 {
					l.Info("quiet")
					l.Error("loud")
				}
			})
		}
		all.Wait()
	})
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if line != "<6>level=INFO msg=quiet" && line != "<3>level=ERROR msg=loud" {
			t.Fatalf("a line is %q", line)
		}
	}
}
