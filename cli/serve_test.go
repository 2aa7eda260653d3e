// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
)

func tell(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

// said takes lines of a log.
type said chan string

func (s said) Write(p []byte) (int, error) {
	s <- string(p)
	return len(p), nil
}

func TestFirstSignalStops(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		a := &app{now: time.Now}
		last := errors.New("drained")
		said := make(said, 10)
		err := a.untilToldTwice(t.Context(), slog.New(slog.NewTextHandler(said, nil)), func(ctx context.Context, reload <-chan struct{}) error {
			tell(t, syscall.SIGHUP)
			<-reload // before it is heard, it must not end the test
			if ctx.Err() != nil {
				t.Error("SIGHUP ended it")
			}
			tell(t, s)
			<-ctx.Done()
			return last
		})
		if err != last {
			t.Errorf("%s: %v", s, err)
		}
		if first, last := <-said, <-said; !strings.Contains(first, "msg=\"stopping;") || !strings.Contains(last, "msg=stopped took=") {
			t.Errorf("logs %q and %q", first, last)
		}
	}
}

func TestSecondSignalDoesNotWait(t *testing.T) {
	a := &app{now: time.Now}
	release := make(chan struct{})
	defer close(release)
	err := a.untilToldTwice(t.Context(), slog.New(slog.DiscardHandler), func(ctx context.Context, _ <-chan struct{}) error {
		tell(t, syscall.SIGTERM)
		<-ctx.Done()
		tell(t, syscall.SIGTERM)
		<-release
		return nil
	})
	if f := explain(err); f == nil || f.code != 1 || !strings.Contains(f.Error(), "second signal") {
		t.Errorf("%v", err)
	}
}

// TestInShort: a panic's stack goes to the log, and the exit code survives.
func TestInShort(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	cause := errors.Join(fmt.Errorf("agent: panic: oh\nstack"), &serve.LockedError{Dir: "/data"})
	f := explain(serveFailure(inShort(log, nil, cause)))
	if f.Error() != "agent: panic: oh" || f.code != serve.ExitLocked || !strings.Contains(out.String(), "stack") {
		t.Errorf("%v, code %d, log %s", f, f.code, &out)
	}
	if err := inShort(log, nil, nil); err != nil {
		t.Error(err)
	}
	out.Reset()
	two := config.Problems{{Key: "a", Message: "one"}, {Key: "b", Message: "another"}}
	if err := inShort(log, nil, two); err == nil || out.Len() > 0 {
		t.Errorf("what is told line by line is logged too: %v %s", err, &out)
	}
}

func TestLogFormat(t *testing.T) {
	main, tty := openTerminal(t)
	defer main.Close()
	shown := watchScreen(main)
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	journal := fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino)
	for _, c := range []struct{ name, format, environ, want, not string }{
		{"file", "auto", "", `{"time":"`, ""},
		{"journal", "auto", journal, `<6>level=INFO msg=hello`, "time="},
		{"another's journal", "auto", "JOURNAL_STREAM=1:1", `{"time":"`, ""},
		{"text", "text", "", `time=2`, "{"},
		{"json", "json", journal, `<6>{"time":"`, ""},
	} {
		if err := file.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := file.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		a := &app{err: file, environ: []string{c.environ}}
		log, level := a.logger(serve.LogConfig{Level: "info", Format: c.format})
		log.Debug("hidden")
		log.Info("hello")
		level.Set(slog.LevelDebug)
		log.Debug("seen now")
		got, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(got, []byte(c.want)) || c.not != "" && bytes.Contains(got, []byte(c.not)) || bytes.Contains(got, []byte("hidden")) || !bytes.Contains(got, []byte("seen now")) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	if err := file.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	a := &app{err: file, environ: []string{journal}}
	a.complain("it does not start", "mend it")
	a.warn("it might", "")
	if got, err := os.ReadFile(file.Name()); err != nil || string(got) != "<3>blufio: it does not start\n<3>hint: mend it\n<4>warning: it might\n" {
		t.Errorf("the journal is told %q", got)
	}
	a = &app{err: tty, environ: []string{"TERM=xterm"}, now: nil}
	log, _ := a.logger(serve.LogConfig{Level: "info", Format: "auto"})
	log.Info("seen")
	shown.wait(t, "level=INFO msg=seen")
	a.welcome(slog.New(slog.DiscardHandler), serve.Info{Version: "1.2.3", Gateway: "http://127.0.0.1:1"}, "/data", 0)
	shown.wait(t, "Ctrl-C")
}
