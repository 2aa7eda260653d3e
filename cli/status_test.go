// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
)

func TestStatusTellsByItsExitCode(t *testing.T) {
	for state, want := range map[string]int{bus.Healthy: 0, bus.Degraded: 1} {
		h := newHouse(t)
		h.status.State = state
		code, stdout, _ := h.blufio("status", "--json")
		if got := decodeAs[bus.Status](t, []byte(stdout)); code != want || got.State != state {
			t.Errorf("%s: code %d, %+v", state, code, got)
		}
		if code, _, _ := h.blufio("status"); code != want {
			t.Errorf("%s: code %d, want %d", state, code, want)
		}
	}
}

// unreachable is a daemon that is not there, and what a client says of it.
type unreachable struct {
	spoil func(h *house)
	code  int
	text  string
}

// commands are those that must find out. A daemon that hangs takes two seconds each.
func (u unreachable) commands() [][]string {
	all := [][]string{{"status"}, {"send", "hello"}, {"cost"}, {"token"}}
	if u.text == "does not answer" {
		return all[:1]
	}
	return all
}

// TestDaemonThatCannotBeAsked tells the ways apart in which a daemon is not there.
func TestDaemonThatCannotBeAsked(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says a word
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	other := newHouse(t)
	otherInfo, err := serve.ReadInfo(other.dir)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]unreachable{
		"stopped in good order": {func(h *house) { h.stop(); os.Remove(filepath.Join(h.dir, "daemon.json")) }, 3, "is not running"},
		"crashed":               {func(h *house) { h.stop() }, 3, "ended without a goodbye"},
		"hangs":                 {func(h *house) { h.writeInfo(serve.Info{Bus: "nats://" + silent.Addr().String()}) }, 4, "does not answer"},
		"another's":             {func(h *house) { h.writeInfo(otherInfo) }, 5, "refuses the device key"},
		"file damaged":          {func(h *house) { os.WriteFile(filepath.Join(h.dir, "daemon.json"), []byte("{"), 0o600) }, 4, "daemon.json"},
		"key open to others":    {func(h *house) { os.Chmod(filepath.Join(h.dir, "device.nk"), 0o644) }, 5, "open to others"},
		"key gone":              {func(h *house) { os.Remove(filepath.Join(h.dir, "device.nk")) }, 5, "does not exist"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			c.spoil(h)
			for _, args := range c.commands() {
				code, stdout, stderr := h.blufio(args...)
				if code != c.code || stdout != "" || !strings.Contains(stderr, c.text) || strings.Count(stderr, "\n") > 2 {
					t.Errorf("%s: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
				}
			}
		})
	}
}

// TestRoomThatIsNotThere: a daemon without an answer is not a healthy one.
func TestRoomThatIsNotThere(t *testing.T) {
	h := newHouse(t) // its house has no cost room
	code, _, stderr := h.blufio("cost")
	if code != 1 || !strings.Contains(stderr, "nobody answers cost.get") || !strings.Contains(stderr, "hint: ") {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
}

func TestWatchToAPipe(t *testing.T) {
	h := newHouse(t)
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // two blocks
		var out, errs bytes.Buffer
		a := &app{out: &out, err: &errs, in: strings.NewReader(""), environ: h.environ(), now: time.Now}
		args := []string{"status", "--watch"}
		if asJSON {
			args = append(args, "--json")
		}
		if code := a.run(ctx, args); code != 0 {
			t.Errorf("code %d: %s", code, &errs)
		}
		cancel()
		if asJSON {
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if len(lines) != 2 || !json.Valid([]byte(lines[0])) || !json.Valid([]byte(lines[1])) {
				t.Errorf("JSON lines:\n%s", &out)
			}
		} else if strings.Count(out.String(), "is healthy") != 2 || strings.Contains(out.String(), "\x1b") {
			t.Errorf("blocks:\n%s", &out)
		}
	}
}

func TestHealth(t *testing.T) {
	h := newHouse(t)
	answers := make(chan func(http.ResponseWriter), 10)
	gateway := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		(<-answers)(w)
	}))
	defer gateway.Close()
	h.writeInfo(serve.Info{PID: 1, Gateway: gateway.URL})
	healthy := func(w http.ResponseWriter) { w.Write([]byte(`{"state":"healthy"}`)) }
	degraded := func(w http.ResponseWriter) {
		w.WriteHeader(503)
		w.Write([]byte(`{"state":"degraded","checks":[{"name":"database","ok":false,"detail":"disk is full"},{"name":"bus","ok":true}]}`))
	}
	liar := func(w http.ResponseWriter) { w.WriteHeader(503); w.Write([]byte(`{"state":"healthy"}`)) }
	stranger := func(w http.ResponseWriter) { w.Write([]byte("<html>")) }
	for _, c := range []struct {
		name    string
		answers []func(http.ResponseWriter)
		args    []string
		code    int
		stdout  string
	}{
		{"healthy", []func(http.ResponseWriter){healthy}, nil, 0, "ok   healthy\n"},
		{"degraded", []func(http.ResponseWriter){degraded}, nil, 1, "FAIL degraded\nFAIL database: disk is full\n"},
		{"contradiction", []func(http.ResponseWriter){liar}, nil, 4, ""},
		{"another program", []func(http.ResponseWriter){stranger}, nil, 4, ""},
		{"comes up", []func(http.ResponseWriter){stranger, degraded, healthy}, []string{"--wait", "10s"}, 0, "ok   healthy\n"},
	} {
		for _, answer := range c.answers {
			answers <- answer
		}
		code, stdout, stderr := h.blufio(append([]string{"health"}, c.args...)...)
		if code != c.code || stdout != c.stdout || len(answers) != 0 {
			t.Errorf("%s: code %d, stdout %q, stderr %q", c.name, code, stdout, stderr)
		}
	}
}

// TestStatusOfNothing: a data directory that no daemon has used has no time.
func TestStatusOfNothing(t *testing.T) {
	dir := t.TempDir()
	code, stdout, _ := runMain([]string{"HOME=" + dir, "BLUFIO_DATA_DIR=" + dir}, "status", "--json")
	got := decodeAs[map[string]any](t, []byte(stdout))
	if at, there := got["time"]; code != exitNotRunning || !there || at != nil || got["state"] != bus.Stopped {
		t.Errorf("exit code %d, %s", code, stdout)
	}
}

// TestWatchInASmallWindow: what does not fit is counted.
func TestWatchInASmallWindow(t *testing.T) {
	lines := []string{"1", "2", "3", "4", "5"}
	for height, want := range map[int]string{0: "1 2 3 4 5", 6: "1 2 3 4 5", 5: "1 2 3 4 5", 4: "1 2 3 … 2 more lines", 1: "… 5 more lines"} {
		if got := strings.Join(firstLines(lines, height), " "); got != want {
			t.Errorf("height %d: %q, want %q", height, got, want)
		}
	}
}

// TestModelText: the stand-in is no model.
func TestModelText(t *testing.T) {
	st := bus.Status{State: bus.Healthy, Provider: "offline", Model: "offline"}
	if got := dashboard(ui{}, picture{Status: st}, noon); !strings.Contains(got, "model     no model (offline)\n") {
		t.Error(got)
	}
}

// A channel that nobody had set up is no failure of a daemon that has stopped, and long
// words are wrapped.
func TestStoppedAndLongStatus(t *testing.T) {
	ago := time.Unix(0, 0)
	p := picture{last: &ago, Status: bus.Status{Version: "1", State: bus.Healthy,
		Channels: []bus.Channel{{Name: "telegram", State: bus.Stopped}, {Name: "gateway", State: bus.Healthy}},
		Services: []bus.ServiceStatus{{Name: "telegram", State: bus.Healthy}, {Name: "gateway", State: bus.Healthy},
			{Name: "vault", State: bus.Degraded, Problems: []bus.Problem{{Code: "vault_locked", Title: strings.Repeat("shut ", 30), Hint: strings.Repeat("open it ", 30)}}}}}}
	running := dashboard(ui{}, p, time.Unix(100, 0))
	for l := range strings.SplitSeq(running, "\n") {
		if len(l) > 80 {
			t.Errorf("%d columns: %s", len(l), l)
		}
	}
	if !strings.Contains(running, "[vault_locked]") || !strings.Contains(running, "hint: open it") {
		t.Error(running)
	}
	p.stop()
	if got := dashboard(ui{}, p, time.Unix(100, 0)); !strings.Contains(got, "off   telegram  not configured") || !strings.Contains(got, "FAIL  gateway") {
		t.Error(got)
	}
}
