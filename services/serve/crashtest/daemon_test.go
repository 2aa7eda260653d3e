// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/services/serve"
)

const (
	startLimit = 30 * time.Second // to be healthy
	stopLimit  = 20 * time.Second // to end when asked to
	deathLimit = time.Minute      // to come to its failpoint
	lookEvery  = 5 * time.Millisecond
)

// settings is what every daemon here has; the model's own settings come with it.
const settings = `
[gateway]
listen = "127.0.0.1:0"
[bus]
listen = "127.0.0.1:0"
events_mb = 1024
[memory]
limit_mb = 4000
[log]
format = "json"
`

// newPlan lays out a directory for one daemon and one driver.
func newPlan(t *testing.T, m *model, more ...string) plan {
	t.Helper()
	p := plan{dir: t.TempDir()}
	if err := os.WriteFile(p.config(), []byte(settings+m.config(more...)), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// add puts more at the end of the configuration.
func (p plan) add(t *testing.T, more string) {
	t.Helper()
	f, err := os.OpenFile(p.config(), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(more); err != nil {
		t.Fatal(err)
	}
}

// builds are the binaries made so far, by tag, for all tests.
var builds binaryCache

type binaryCache struct {
	mu    sync.Mutex
	dir   string
	built map[string]string
}

func (b *binaryCache) remove() {
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// build makes the real binary, race-enabled when the test is.
func build(t *testing.T, tag string) string {
	t.Helper()
	builds.mu.Lock()
	defer builds.mu.Unlock()
	if binary := builds.built[tag]; binary != "" {
		return binary
	}
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "crashtest")
		if err != nil {
			t.Fatal(err)
		}
		builds.dir, builds.built = dir, map[string]string{}
	}
	binary := filepath.Join(builds.dir, "blufio-"+tag)
	args, cgo := []string{"build", "-o", binary, "-tags", tag}, "CGO_ENABLED=0"
	if raceEnabled {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, "github.com/blufio/blufio")...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	builds.built[tag] = binary
	return binary
}

// Tags of builds.
const (
	shipped = ""
	armed   = "failpoint"
	mutant  = "mutate"
)

// daemon is one process of the daemon.
type daemon struct {
	plan
	cmd     *exec.Cmd
	started time.Time
	exited  chan struct{} // closed when the process is gone; err is then set
	err     error
	healthy atomic.Int64  // how long it took, in ns; 0: not yet
	watched chan struct{} // closed when it is healthy or gone
}

func start(t *testing.T, p plan, binary string, env ...string) *daemon {
	t.Helper()
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d := &daemon{plan: p, exited: make(chan struct{}), watched: make(chan struct{})}
	d.cmd = exec.Command(binary, "serve", "--data-dir", p.data(), "--config", p.config())
	d.cmd.Env = append([]string{"HOME=" + p.dir, "PATH=" + os.Getenv("PATH")}, env...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.started = time.Now()
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.exited)
	}()
	go d.watch(t.Context())
	t.Cleanup(func() { d.kill(t) })
	return d
}

// watch asks for the daemon's health until it is healthy or gone.
func (d *daemon) watch(ctx context.Context) {
	defer close(d.watched)
	for !d.gone() {
		if d.isHealthy(ctx) {
			d.healthy.Store(int64(time.Since(d.started)))
			return
		}
		select {
		case <-time.After(lookEvery):
		case <-d.exited:
		}
	}
}

// isHealthy asks this process: daemon.json of a killed one may still be there.
func (d *daemon) isHealthy(ctx context.Context) bool {
	info, err := serve.ReadInfo(d.data())
	if err != nil || info.PID != d.cmd.Process.Pid {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, info.Gateway+"/health", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

func (d *daemon) gone() bool {
	select {
	case <-d.exited:
		return true
	default:
		return false
	}
}

// awaitHealthy returns when the daemon is healthy.
func (d *daemon) awaitHealthy(t *testing.T) {
	t.Helper()
	select {
	case <-d.watched:
	case <-time.After(startLimit):
	}
	if d.healthy.Load() == 0 {
		t.Fatalf("the daemon is not healthy within %s (gone: %v)\n%s", startLimit, d.gone(), d.logTail())
	}
}

// kill ends this very process with SIGKILL, unless it is gone.
func (d *daemon) kill(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("kill: %v", err)
	}
	<-d.exited
	<-d.watched
}

// awaitDeath returns when the daemon has killed itself.
func (d *daemon) awaitDeath(t *testing.T, why string) {
	t.Helper()
	select {
	case <-d.exited:
	case <-time.After(deathLimit):
		t.Fatalf("%s: the daemon still lives after %s\n%s", why, deathLimit, d.logTail())
	}
	<-d.watched
	var exit *exec.ExitError
	if !errors.As(d.err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%s: the daemon ended with %v\n%s", why, d.err, d.logTail())
	}
}

// stop asks the daemon to end and wants it to end well.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.exited:
	case <-time.After(stopLimit):
		t.Fatalf("the daemon did not stop within %s\n%s", stopLimit, d.logTail())
	}
	if d.err != nil {
		t.Fatalf("the daemon ended with %v\n%s", d.err, d.logTail())
	}
}

// logTail is the end of the daemons' log.
func (p plan) logTail() string {
	data, err := os.ReadFile(p.log())
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4000):])
}

// complaints are the lines of the log that no crash excuses, without errors
// where there may be some.
func (p plan) complaints(errors bool) []string {
	data, err := os.ReadFile(p.log())
	if err != nil {
		return []string{err.Error()}
	}
	return slices.DeleteFunc(strings.Split(string(data), "\n"), func(line string) bool {
		return !strings.Contains(line, "DATA RACE") && !strings.Contains(line, "panic") && (errors || !strings.Contains(line, `"level":"ERROR"`))
	})
}

// median of some durations.
func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2].Round(time.Millisecond)
}
