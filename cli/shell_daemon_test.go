// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/serve"
)

// startDaemon runs a whole daemon on dir, on free ports, until the test or stop ends it.
func startDaemon(t *testing.T, dir string) (stop func()) {
	t.Helper()
	cfg := serve.Defaults()
	cfg.Bus.Listen, cfg.Gateway.Listen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Memory.LimitMB = 2000 // a race-enabled test is heavy
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- serve.Run(ctx, serve.Options{Config: cfg, DataDir: dir, Version: "test", Logger: bustest.Logger(t),
			Now: time.Now, Ready: func(serve.Info) { close(ready) }})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("the daemon did not start: %v", err)
	}
	t.Cleanup(stop)
	return stop
}

// TestShellWithADaemon: a conversation with everything that belongs to it, over a
// restart of the daemon.
func TestShellWithADaemon(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	stop := startDaemon(t, dir)
	environ := []string{"BLUFIO_DATA_DIR=" + dir, "HOME=" + t.TempDir()}
	k := startTalk(t, environ)
	k.press("/history\r")
	k.see("nothing was said yet")
	k.press("remember the boiler code is 4711\r")
	k.press("/help\r")
	k.see("/history [N]")
	stop()
	k.see("connection lost, trying again")
	k.press("recall boiler\r")
	k.see("waiting for the daemon")
	startDaemon(t, dir)
	k.see("connected again")
	k.press("/sessions\r")
	k.see("3 messages")
	k.press("/history 2\r")
	k.see("\x1b[1m/help\x1b[22m \x1b[2m(") // what was asked, and when
	shown := k.leave("\x04")
	if n := strings.Count(shown, "4711"); n < 3 { // typed, answered, recalled
		t.Errorf("the code is shown %d times in %q", n, shown)
	}
	a := &app{dataDir: dir, now: time.Now}
	h, err := ask(t.Context(), a, bus.AgentHistory, bus.HistoryQuery{Channel: terminalChannel, Owner: terminalOwner, Session: mainSession})
	if err != nil || len(h.Messages) != 3 || h.Messages[2].Text != "recall boiler" || !strings.Contains(h.Messages[2].Reply, "4711") {
		t.Errorf("%v, %+v", err, h.Messages)
	}
}

// TestLastMessages: the end of a session of several pages.
func TestLastMessages(t *testing.T) {
	pages := func(_ context.Context, q bus.HistoryQuery) (bus.History, error) {
		h := bus.History{More: q.After < 8}
		for seq := q.After + 1; seq <= q.After+3 && seq <= 10; seq++ {
			h.Messages = append(h.Messages, bus.MessageRecord{Seq: seq})
		}
		return h, nil
	}
	last, err := lastMessages(t.Context(), "main", 4, pages)
	if err != nil || len(last) != 4 || last[0].Seq != 7 || last[3].Seq != 10 {
		t.Errorf("%v, %+v", err, last)
	}
	none := func(context.Context, bus.HistoryQuery) (bus.History, error) {
		return bus.History{}, bus.Errorf(bus.CodeNotFound, "there is no session")
	}
	if last, err := lastMessages(t.Context(), "new", 4, none); err != nil || len(last) != 0 {
		t.Errorf("%v, %+v", err, last)
	}
}
