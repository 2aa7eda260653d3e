// SPDX-License-Identifier: MIT OR Apache-2.0

// Package deploy holds the files of deploy/ against real daemons and a real
// Prometheus: every name in them exists, every alert has been seen to fire and not to
// fire, every query answers. It needs the programs prometheus and promtool; without
// them those tests are skipped, but where CI is set they fail.
package deploy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/cli"
	"github.com/blufio/blufio/services/governor"
	"github.com/blufio/blufio/services/governor/governortest"
	"github.com/blufio/blufio/services/serve"
)

// packageOf is where Debian has a program.
var packageOf = map[string]string{"prometheus": "prometheus", "promtool": "prometheus", "systemd-analyze": "systemd",
	"dpkg-deb": "dpkg", "git": "git", "logrotate": "logrotate", "shellcheck": "shellcheck", "docker-compose": "docker-compose"}

// program skips the test where a program is missing.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI needs %s: %v", name, err)
		}
		t.Skipf("%s is not installed: apt-get install %s", name, packageOf[name])
	}
	return path
}

// daemon is one that runs.
type daemon struct {
	address string // of the gateway, host and port
	data    string
	first   []string // series of its first scrape, where a test asked
	stop    func()
}

// measured is a readable machine as far as its control group goes, for not every one has a
// limit; what the process takes is real, where the kernel tells it.
func measured() governor.Deps {
	d := governortest.Readable()
	d.Root, d.PageSize = process{os.DirFS("/"), d.Root}, 0
	return d
}

// process is a real one in a group that is not.
type process struct{ real, group fs.FS }

// Open implements fs.FS.
func (p process) Open(name string) (fs.File, error) {
	if name == "proc/self/statm" || name == "proc/self/status" {
		if f, err := p.real.Open(name); err == nil {
			return f, nil
		}
	}
	return p.group.Open(name)
}

// start runs a daemon that ends with the test, if it was not stopped before.
func start(t *testing.T, change func(*serve.Config)) *daemon {
	t.Helper()
	return startWith(t, func(o *serve.Options) { change(&o.Config) })
}

func startWith(t *testing.T, change func(*serve.Options)) *daemon {
	t.Helper()
	d := &daemon{data: filepath.Join(t.TempDir(), "data")}
	o := serve.Options{Config: serve.Defaults(), DataDir: d.data, Version: "test", Logger: bustest.Logger(t), Memory: governortest.Readable()}
	o.Config.Gateway.Listen, o.Config.Bus.Listen, o.Config.Memory.LimitMB = "127.0.0.1:0", "127.0.0.1:0", 2000
	change(&o)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan serve.Info, 1), make(chan error, 1)
	o.Ready = func(i serve.Info) { ready <- i }
	go func() {
		ended <- serve.Run(ctx, o)
		close(ended)
	}()
	d.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(d.stop)
	select {
	case i := <-ready:
		d.address = strings.TrimPrefix(i.Gateway, "http://")
	case <-time.After(20 * time.Second):
		t.Fatal("the daemon is not ready after 20 s")
	}
	return d
}

// blufio runs a command of the program and returns what it prints.
func (d *daemon) blufio(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := cli.Main(args, strings.NewReader(""), &out, &errs, []string{"BLUFIO_DATA_DIR=" + d.data, "HOME=" + d.data}); code != 0 {
		t.Fatalf("blufio %v: exit code %d: %s%s", args, code, &out, &errs)
	}
	return out.String()
}

// fetch asks once, and returns the answer's status and body.
func fetch(t *testing.T, url string) (int, []byte) {
	t.Helper()
	code, body, err := request(t.Context(), http.MethodGet, url, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return code, body
}

func request(ctx context.Context, method, url, token, body string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, data, err
}

// eventually waits until done says "", or fails with what it said last.
func eventually(t *testing.T, within time.Duration, done func() string) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		why := done()
		if why == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s: %s", within, why)
		}
	}
}

// configured copies prometheus/ and makes replacements in one of its configurations,
// each of which has to be there. It returns the path of the copy.
func configured(t *testing.T, name string, replace ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("prometheus")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	text := read(t, path)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%s has no %q", name, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// watch starts a Prometheus that ends with the test, and returns its address.
func watch(t *testing.T, config string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, program(t, "prometheus"), "--config.file="+config, "--storage.tsdb.path="+t.TempDir(),
		"--web.listen-address=127.0.0.1:0", "--log.format=json")
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, 5*time.Second
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	listening, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var line struct{ Msg, Address, Level, Err string }
			_ = json.Unmarshal(lines.Bytes(), &line)
			switch {
			case line.Msg == "Listening on":
				listening <- "http://" + line.Address
			case line.Level == "error", line.Level == "warn":
				t.Logf("prometheus: %s: %s", line.Msg, line.Err)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-read
		_ = cmd.Wait() // it was interrupted
	})
	select {
	case url := <-listening:
		eventually(t, 20*time.Second, func() string {
			code, body := fetch(t, url+"/-/ready")
			if code == http.StatusOK {
				return ""
			}
			return string(body)
		})
		return url
	case <-read:
		t.Fatal("prometheus ended")
	case <-time.After(20 * time.Second):
		t.Fatal("prometheus does not listen after 20 s")
	}
	return ""
}
