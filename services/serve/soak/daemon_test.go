// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/serve/internal/box"
)

// gatewayOf is healthy and accepts each message, as m0, m1 and so on.
func gatewayOf(t *testing.T) string {
	t.Helper()
	var accepted atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /metrics", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v1/messages", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprintf(w, `{"id":"m%d","state":"queued"}`, accepted.Add(1)-1)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// mortal is a daemon in name only: it is as healthy as the gateway, and ends by itself.
// When it is started again it does what again says.
func mortal(t *testing.T, gateway, again string) *daemon {
	t.Helper()
	dir := t.TempDir()
	script := `#!/bin/sh
if [ "$1" = token ]; then echo token; exit; fi
cd "$5" || exit 9
if [ -e begun ]; then touch again; ` + again + `; fi
touch begun
echo '{"pid":'$$',"gateway":"` + gateway + `"}' >daemon.json
sleep 1
exit 7
`
	d := &daemon{binary: filepath.Join(dir, "mortal"), dir: dir, log: filepath.Join(dir, "daemon.log")}
	if err := os.WriteFile(d.binary, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return d
}

// A run ends at once with a daemon that cannot be started again: it says why, how often it
// ended and was killed for memory, and what became of its messages.
func TestRunEndsWithItsDaemon(t *testing.T) {
	const limit = 40
	group, err := box.NewGroup("soak-gone", limit*mib)
	again := "exit 3"
	if err == nil {
		again = "head -c 100000000 /dev/zero | tail; exit 3" // tail keeps a line that does not end
	}
	states := map[string]string{}
	for n := range 500 {
		states[fmt.Sprintf("m%d", n)] = bus.StateAnswered
	}
	r := &run{options: options{limitMB: limit, report: t.Logf}, work: work{name: "gone", phases: []phase{{steady, time.Hour}}}, group: group, daemon: mortal(t, gatewayOf(t), again)}
	r.daemon.group, r.daemon.dir = group, filepath.Dir(databaseOf(t, states))
	if r.outside, err = newOutside(); err != nil {
		t.Fatal(err)
	}
	if r.book, err = newBook(filepath.Join(t.TempDir(), "accepted")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = r.drive(t.Context())
	if lasted := time.Since(began); lasted > startLimit {
		t.Errorf("it ended after %s", lasted)
	}
	for _, want := range []string{"could not be started again", "at its start: exit status 3"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if died := r.daemon.died(); len(died) != 1 || !strings.Contains(died[0], "exit status 7") {
		t.Errorf("deaths %q", died)
	}
	if group != nil && r.oomKills == 0 {
		t.Error("the kill for memory is not told")
	}
	if n := r.book.accepted.Load(); n == 0 || r.kept.states[bus.StateAnswered] != n {
		t.Errorf("%d accepted, %+v", n, r.kept)
	}
	rep := &report{options: r.options, runs: []*run{r}}
	if text := rep.markdown(); !strings.Contains(text, "did not end as it should") || !strings.Contains(text, "| ended unasked | 1 | 0 | **missed** |") {
		t.Error(text)
	}
}

// What has ended is not signalled: its number may be another's by now. Why it could not be
// started again is told instead.
func TestStopAfterTheEnd(t *testing.T) {
	d := mortal(t, gatewayOf(t), "exit 3")
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	<-d.over
	other, says := exec.Command("cat"), "I am here\n"
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	d.info.PID = other.Process.Pid
	if err := d.stop(); err == nil || !strings.Contains(err.Error(), "at its start: exit status 3") {
		t.Errorf("it ended with %v", err)
	}
	if _, err := io.WriteString(in, says); err != nil {
		t.Error(err)
	}
	if got, err := bufio.NewReader(out).ReadString('\n'); got != says {
		t.Errorf("the process that has the number now says %q, %v", got, err)
	}
	_ = in.Close()
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
}

// A daemon that is asked to end while it is started again ends too.
func TestStopWhileItStarts(t *testing.T) {
	d := mortal(t, gatewayOf(t), "exec sleep 600")
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "it is started again", func() bool { _, err := os.Stat(filepath.Join(d.dir, "again")); return err == nil })
	if err := d.stop(); err == nil || !strings.Contains(err.Error(), "at its start: signal: terminated") {
		t.Errorf("it ended with %v", err)
	}
}
