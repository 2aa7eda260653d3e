// SPDX-License-Identifier: MIT OR Apache-2.0

package deploy

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/serve"
)

// writer is who writes the file, as rsyslog does: it holds the file open, and opens it
// anew by its name after a SIGHUP, whenever it comes to that.
type writer struct {
	path   string
	hangup chan os.Signal
	anew   chan struct{} // hears of every file but the first
}

// copy writes lines until there are no more.
func (w *writer) copy(lines io.Reader) error {
	open := func() (*os.File, error) {
		return os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	}
	f, err := open()
	if err != nil {
		return err
	}
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		select {
		case <-w.hangup:
			if err := f.Close(); err != nil {
				return err
			}
			if f, err = open(); err != nil {
				return err
			}
			w.anew <- struct{}{}
		default:
		}
		if _, err := fmt.Fprintln(f, scan.Text()); err != nil {
			return err
		}
	}
	return f.Close()
}

// everyLine puts together what logrotate has left, the oldest first.
func everyLine(t *testing.T, path string) string {
	t.Helper()
	var all strings.Builder
	for n := 50; n >= 0; n-- {
		name := fmt.Sprintf("%s.%d", path, n)
		if n == 0 {
			name = path
		}
		if f, err := os.Open(name + ".gz"); err == nil {
			z, err := gzip.NewReader(f)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(&all, z); err != nil {
				t.Fatal(err)
			}
			_ = f.Close() // it was only read
		}
		if text, err := os.ReadFile(name); err == nil {
			all.Write(text)
		}
	}
	return all.String()
}

// While a daemon logs, its file is rotated again and again, and no line is missing.
func TestRotationLosesNothing(t *testing.T) {
	rotate := program(t, "logrotate")
	const times = 6 // logrotate.conf keeps 8
	dir := t.TempDir()
	w := &writer{path: filepath.Join(dir, "blufio.log"), hangup: make(chan os.Signal, 1), anew: make(chan struct{}, times)}
	signal.Notify(w.hangup, syscall.SIGHUP)
	defer signal.Stop(w.hangup)
	conf := readFile(t, contrib+"logrotate.conf")
	for was, is := range map[string]string{
		"/var/log/blufio.log":                         w.path,
		"systemctl kill --signal=HUP rsyslog.service": fmt.Sprintf("kill -HUP %d", os.Getpid()),
	} {
		if strings.Count(conf, was) != 1 {
			t.Fatalf("logrotate.conf does not say %q once", was)
		}
		conf = strings.Replace(conf, was, is, 1)
	}
	write(t, filepath.Join(dir, "logrotate.conf"), conf)
	if err := os.Chmod(filepath.Join(dir, "logrotate.conf"), 0o600); err != nil {
		t.Fatal(err)
	}

	out, in := io.Pipe()
	var sent bustest.Text
	log := slog.New(slog.NewJSONHandler(io.MultiWriter(&sent, in), &slog.HandlerOptions{Level: slog.LevelDebug}))
	var work sync.WaitGroup
	work.Go(func() {
		if err := w.copy(out); err != nil {
			t.Error(err)
		}
	})
	d := startWith(t, func(o *serve.Options) { o.Logger = log })
	ctx, stop := context.WithCancel(t.Context())
	var talk sync.WaitGroup
	talk.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			log.Info("a line", "n", n)
			if n%100 == 0 {
				d.blufio(t, "send", "hello") // the daemon's own
			}
		}
	})
	for range times {
		if text, err := exec.CommandContext(ctx, rotate, "--force", "--state", filepath.Join(dir, "state"), filepath.Join(dir, "logrotate.conf")).CombinedOutput(); err != nil {
			t.Fatalf("logrotate: %v\n%s", err, text)
		}
		<-w.anew
	}
	stop()
	talk.Wait()
	d.stop()
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	work.Wait()
	if got, want := everyLine(t, w.path), sent.String(); got != want {
		t.Errorf("%d lines were logged, %d are in the files", strings.Count(want, "\n"), strings.Count(got, "\n"))
	}
	if _, err := os.Stat(w.path + ".2.gz"); err != nil {
		t.Error("nothing was compressed:", err)
	}
}
