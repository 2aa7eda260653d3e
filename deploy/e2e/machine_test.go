// SPDX-License-Identifier: MIT OR Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"golang.org/x/sys/unix"
)

// machine is a Debian that runs.
type machine struct {
	*testing.T // of the step that is at work
	whole      *testing.T
	dir        string
	cmd        *exec.Cmd
	ended      chan error
	init       int // process id of its systemd, outside
	client     *http.Client
	model      *model
}

// boot starts one that ends with the test.
func boot(t *testing.T) *machine {
	t.Helper()
	base := os.Getenv("E2E_BASE")
	if base == "" {
		t.Skip("make e2e runs this, as root")
	}
	dir, err := os.MkdirTemp("/var/tmp", "blufio-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // a leftover in /var/tmp
	m := &machine{T: t, whole: t, dir: dir, ended: make(chan error, 1)}
	m.cmd = exec.Command("./machine.sh", base, dir)
	m.cmd.Stdout, m.cmd.Stderr = t.Output(), t.Output()
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { m.ended <- m.cmd.Wait() }()
	t.Cleanup(func() {
		_ = m.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		<-m.ended
	})
	m.client = &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			err = m.inside(func() error { c, err = (&net.Dialer{}).DialContext(ctx, network, address); return err })
			return c, err
		}}}
	m.up(0)
	return m
}

// step runs a part of the journey; without one the next makes no sense.
func (m *machine) step(name string, do func()) {
	t := m.T
	ok := t.Run(name, func(t *testing.T) {
		m.T = t
		defer func() {
			if t.Failed() {
				t.Logf("the log of blufio:\n%s", m.try("journalctl", "-u", "blufio*", "-n", "60", "--no-pager", "-o", "short-precise"))
				t.Logf("the kernel's and systemd's last:\n%s", m.try("journalctl", "-n", "30", "--no-pager", "-o", "short-precise", "_PID=1"))
			}
		}()
		do()
	})
	m.T = t
	if !ok {
		t.FailNow()
	}
}

// up waits until systemd has started all there is. former is the init process before a
// reboot.
func (m *machine) up(former int) {
	m.Helper()
	m.eventually(60*time.Second, "the machine is up", func() bool {
		init, err := m.findInit()
		if err != nil || init == former {
			return false
		}
		m.init = init
		state := m.try("systemctl", "is-system-running")
		return strings.HasPrefix(state, "running") || strings.HasPrefix(state, "degraded")
	})
	m.model = m.listen()
}

// findInit finds the first process inside: the only child of nspawn.
func (m *machine) findInit() (int, error) {
	text, err := os.ReadFile(filepath.Join(m.dir, "nspawn"))
	if err != nil {
		return 0, err
	}
	pid := strings.TrimSpace(string(text))
	text, err = os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		return 0, err
	}
	child, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return strconv.Atoi(child)
}

// command is one inside.
func (m *machine) command(args ...string) *exec.Cmd {
	all := append([]string{"-t", strconv.Itoa(m.init), "-m", "-u", "-i", "-p", "-n", "-C", "--", "/usr/bin/env", "-i",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "USER=root", "DEBIAN_FRONTEND=noninteractive"}, args...)
	return exec.Command("nsenter", all...)
}

// run runs a command inside that has to end well.
func (m *machine) run(args ...string) string {
	m.Helper()
	out, code := m.ends(args...)
	if code != 0 {
		m.Fatalf("%v: exit code %d\n%s", args, code, out)
	}
	return out
}

// sh runs a line of shell.
func (m *machine) sh(line string) string {
	m.Helper()
	return m.run("sh", "-ec", line)
}

// ends runs one and tells how it ended.
func (m *machine) ends(args ...string) (out string, code int) {
	m.Helper()
	text, err := m.command(args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(text), exit.ExitCode()
	}
	if err != nil {
		m.Fatalf("%v: %v", args, err)
	}
	return string(text), 0
}

// try runs one whatever comes of it.
func (m *machine) try(args ...string) string {
	text, _ := m.command(args...).CombinedOutput()
	return string(text)
}

// as runs a command as another user.
func (m *machine) as(user string, args ...string) (out string, code int) {
	m.Helper()
	return m.ends(append([]string{"runuser", "-u", user, "--"}, args...)...)
}

// put writes a file inside.
func (m *machine) put(path, mode, owner, text string) {
	m.Helper()
	cmd := m.command("sh", "-ec", `mkdir -p "$(dirname "$1")"; cat >"$1"; chmod "$2" "$1"; chown "$3" "$1"`, "sh", path, mode, owner)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.Fatalf("put %s: %v\n%s", path, err, out)
	}
}

// give copies a file from outside.
func (m *machine) give(from, to string) {
	m.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		m.Fatal(err)
	}
	cmd := m.command("sh", "-ec", `cat >"$1"`, "sh", to)
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.Fatalf("give %s: %v\n%s", to, err, out)
	}
}

// prop is a property of a unit.
func (m *machine) prop(unit, name string) string {
	m.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", unit, "-P", name))
}

// eventually waits for what has to come true.
func (m *machine) eventually(within time.Duration, what string, true func() bool) {
	m.Helper()
	eventually(m, within, what, true)
}

// eventually waits for what nothing tells of, in another machine or container.
func eventually(t testing.TB, within time.Duration, what string, true func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !true(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// restarted waits until a unit runs again, for the nth time by itself.
func (m *machine) restarted(unit string, n int, within time.Duration) {
	m.Helper()
	m.eventually(within, fmt.Sprintf("%s was restarted %d times and runs", unit, n), func() bool {
		return m.prop(unit, "NRestarts") == strconv.Itoa(n) && m.prop(unit, "ActiveState") == "active"
	})
}

// inside does something in the machine's network. The thread is not used again.
func (m *machine) inside(do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: it ends with the goroutine
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.init))
		if err != nil {
			result <- err
			return
		}
		defer ns.Close() //nolint:errcheck // it was only read
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter the machine's network: %w", err)
			return
		}
		result <- do()
	}()
	return <-result
}

// modelAddress is where the machine asks its model: on its own loopback, which nobody else
// has.
const modelAddress = "127.0.0.1:8099"

// model is one that the machine can ask.
type model struct {
	mu   sync.Mutex
	gate chan struct{} // nil: answers go out
	held int           // questions that wait
}

// listen starts a model inside; it ends with the test.
func (m *machine) listen() *model {
	m.Helper()
	vendors, err := fakellm.Start("127.0.0.1:0")
	if err != nil {
		m.Fatal(err)
	}
	m.whole.Cleanup(vendors.Close)
	vendors.OpenAI.Reply(func(q fakellm.Question) fakellm.Answer { return fakellm.Says("you said: " + q.Text) })
	var l net.Listener
	if err := m.inside(func() (err error) { l, err = net.Listen("tcp", modelAddress); return err }); err != nil {
		m.Fatal(err)
	}
	found := &model{}
	found.pass(m.whole, l, vendors.OpenAI.URL())
	return found
}

// before opens an address on this machine's loopback behind which the real one is.
func (f *model) before(t *testing.T, vendor string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.pass(t, l, vendor)
	return "http://" + l.Addr().String() + "/v1"
}

// pass passes questions on to the vendor until the test ends.
func (f *model) pass(t *testing.T, l net.Listener, vendor string) {
	t.Helper()
	where, err := url.Parse(vendor)
	if err != nil {
		t.Fatal(err)
	}
	where.Path = ""
	proxy := httputil.NewSingleHostReverseProxy(where)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A vendor answers once it has the last byte, before the proxy has seen that there
		// are no more; a server whose handler answers closes what it has not read, and the
		// proxy would take that for a question that broke off.
		question, err := io.ReadAll(r.Body)
		if err != nil || !f.wait(r.Context()) {
			return // who asks is gone
		}
		r.Body = io.NopCloser(bytes.NewReader(question))
		proxy.ServeHTTP(w, r)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // it ends when it is closed
	}()
	t.Cleanup(func() {
		_ = server.Close() // who asks is gone too
		<-served
	})
}

// wait holds a question as long as it is to be held.
func (f *model) wait(ctx context.Context) bool {
	f.mu.Lock()
	gate := f.gate
	if gate != nil {
		f.held++
	}
	f.mu.Unlock()
	if gate == nil {
		return true
	}
	select {
	case <-gate:
		return true
	case <-ctx.Done():
		return false
	}
}

// hold makes questions wait from here on, until they are let go.
func (f *model) hold() (letGo func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gate := make(chan struct{})
	f.gate, f.held = gate, 0
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		close(gate)
		f.gate = nil
	}
}

func (f *model) waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}
