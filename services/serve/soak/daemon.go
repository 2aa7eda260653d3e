// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/blufio/blufio/services/serve"
	"github.com/blufio/blufio/services/serve/internal/box"
)

const (
	startLimit = 30 * time.Second
	stopLimit  = 30 * time.Second
)

// build makes a binary as it is shipped, but for the tags.
func build(ctx context.Context, out, tags string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-tags", tags, "-o", out, "github.com/blufio/blufio")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build blufio: %w\n%s", err, text)
	}
	return nil
}

// daemon is the real binary on a data directory. When it dies it is started again,
// as a supervisor would, unless that fails: then it is over.
type daemon struct {
	binary, dir, config, log string
	group                    *box.Group
	pinned                   bool
	env                      []string

	mu       sync.Mutex
	process  *os.Process // the latest; it is signalled, never a number that may be another's by now
	info     serve.Info
	deaths   []string // how it ended unasked
	stopping bool
	fault    error
	over     chan struct{} // closed when it is not started again
}

// start runs it and returns when it is healthy.
func (d *daemon) start() error {
	d.over = make(chan struct{})
	exited, err := d.exec()
	if err != nil {
		return err
	}
	go d.supervise(exited)
	return nil
}

// exec starts one process and waits for its health.
func (d *daemon) exec() (<-chan error, error) {
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has it
	args := box.Wrap(d.group, d.pinned, d.binary, "serve", "--config", d.config, "--data-dir", d.dir)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr, cmd.Env = log, append(os.Environ(), d.env...)
	_ = os.Remove(filepath.Join(d.dir, "daemon.json")) // of a dead one: its ports are gone
	if err := d.launch(cmd); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-exited:
			return nil, fmt.Errorf("the daemon ended at its start: %v; see %s", err, d.log)
		default:
		}
		if info, err := serve.ReadInfo(d.dir); err == nil && healthy(info) {
			d.mu.Lock()
			d.info = info
			d.mu.Unlock()
			if err := box.Check(d.group, d.pinned, info.PID); err != nil {
				return nil, errors.Join(err, cmd.Process.Kill(), <-exited)
			}
			return exited, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("the daemon is not healthy after %s; see %s", startLimit, d.log), cmd.Process.Kill(), <-exited)
}

// launch begins a process, unless the daemon is to end: whoever says so finds the last
// one there is.
func (d *daemon) launch(cmd *exec.Cmd) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return errors.New("the daemon had died when it was asked to end")
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.process = cmd.Process
	return nil
}

func healthy(info serve.Info) bool {
	client := http.Client{Timeout: 2 * time.Second}
	res, err := client.Get(info.Gateway + "/health")
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body) // to use the connection again
	return res.StatusCode == http.StatusOK
}

// supervise starts it again whenever it ends unasked.
func (d *daemon) supervise(exited <-chan error) {
	defer close(d.over)
	for {
		err := <-exited
		d.mu.Lock()
		stopping := d.stopping
		if !stopping {
			d.deaths = append(d.deaths, fmt.Sprintf("%s: %v", time.Now().UTC().Format(time.TimeOnly), err))
		} else {
			d.fault = err
		}
		d.mu.Unlock()
		if stopping {
			return
		}
		if exited, err = d.exec(); err != nil {
			d.mu.Lock()
			d.fault = err
			d.mu.Unlock()
			return
		}
	}
}

// at is where it is reached now.
func (d *daemon) at() serve.Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.info
}

func (d *daemon) died() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.deaths...)
}

// lasting is a context that ends with ctx, and when the daemon is not started again. What
// is returned beside it ends it too.
func (d *daemon) lasting(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-d.over:
			cancel(errors.New("the daemon ended and could not be started again"))
		case <-ctx.Done():
		}
	})
	return ctx, func() { cancel(nil); watching.Wait() }
}

// stop asks it to end and waits; after a while it is killed. What went wrong before is
// told too.
func (d *daemon) stop() error {
	d.mu.Lock()
	d.stopping = true
	process := d.process // the last: no other is launched from here on
	d.mu.Unlock()
	err := tell(process, syscall.SIGTERM)
	select {
	case <-d.over:
	case <-time.After(stopLimit):
		err = errors.Join(err, fmt.Errorf("the daemon does not stop within %s", stopLimit), tell(process, syscall.SIGKILL))
	}
	<-d.over
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(err, d.fault)
}

// tell signals it, and is fine with a process that has ended.
func tell(p *os.Process, sig os.Signal) error {
	if err := p.Signal(sig); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// token asks the command line for one without a rate limit.
func (d *daemon) token(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, d.binary, "token", "--expires", "30d", "--rate", "0", "--data-dir", d.dir, "--config", d.config)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("blufio token: %w: %s", err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}
