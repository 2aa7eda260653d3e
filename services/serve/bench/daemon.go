// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/blufio/blufio/services/serve"
	"github.com/blufio/blufio/services/serve/internal/box"
)

// daemon is one run of the real binary on a data directory.
type daemon struct {
	cmd   *exec.Cmd
	dir   string
	info  serve.Info
	log   *os.File
	ready time.Duration // from exec to the first 200 of /health
}

// place is where measured programs run: the whole machine, or one CPU of it in a
// memory control group of 1 GB.
type place struct {
	name   string
	pinned bool
	group  *box.Group // nil where the machine allows none
}

// wrap puts a command line there.
func (p place) wrap(args ...string) []string {
	if !p.pinned {
		return args
	}
	return box.Wrap(p.group, true, args...)
}

// start runs the daemon as it is installed, with no more settings than free ports.
func (r *run) start(dir string) (*daemon, error) { return r.startWith(dir, r.config) }

// startWith runs the daemon and waits for its first healthy answer. The clock runs
// from just before exec; polling adds at most a millisecond.
func (r *run) startWith(dir, config string) (*daemon, error) {
	log, err := os.OpenFile(filepath.Join(r.tmp, "daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	args := r.box.wrap(r.binary, "serve", "--config", config, "--data-dir", dir)
	d := &daemon{cmd: exec.Command(args[0], args[1:]...), dir: dir, log: log}
	d.cmd.Stderr = log
	_ = os.Remove(filepath.Join(dir, "daemon.json")) // of a killed one: its ports are gone
	began := time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(began) < 30*time.Second {
		if d.info, err = serve.ReadInfo(dir); err == nil && d.healthy() {
			d.ready = time.Since(began)
			return d, nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil, errors.Join(fmt.Errorf("the daemon is not healthy after 30 s; see %s", log.Name()), d.kill())
}

func (d *daemon) healthy() bool {
	res, err := http.Get(d.info.Gateway + "/health")
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body) // to use the connection again
	return res.StatusCode == http.StatusOK
}

func (d *daemon) stop() error {
	if err := syscall.Kill(d.info.PID, syscall.SIGTERM); err != nil {
		return err
	}
	return errors.Join(d.cmd.Wait(), d.log.Close())
}

func (d *daemon) kill() error {
	err := d.cmd.Process.Kill() // it is the daemon: what puts it into its place becomes it. One that never got ready told no id
	_ = d.cmd.Wait()            // says that it was killed
	return errors.Join(err, d.log.Close())
}

// token asks the command line for one.
func (r *run) token(d *daemon) (string, error) {
	out, err := r.cli(d, "token", "--expires", "12h", "--rate", "0")
	return strings.TrimSpace(string(out)), err
}

func (r *run) cli(d *daemon, args ...string) ([]byte, error) {
	cmd := exec.Command(r.binary, append(args, "--data-dir", d.dir, "--config", r.config)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("blufio %s: %w: %s", args[0], err, stderr.Bytes())
	}
	return out, nil
}

// status reads how much is still on its way.
func (r *run) quiet(d *daemon) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, err := r.cli(d, "status", "--json")
		if err != nil {
			return err
		}
		var st struct {
			Queues struct{ Inbox, Outbox int64 }
		}
		if err := json.Unmarshal(out, &st); err != nil {
			return err
		}
		if st.Queues.Inbox == 0 && st.Queues.Outbox == 0 {
			return nil
		}
	}
	return errors.New("the daemon did not become quiet within a minute")
}

// rss returns a process's resident set in bytes.
func rss(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// anonymous returns the part of the resident set that no file backs, in bytes.
func anonymous(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("the system does not tell RssAnon")
}

// programMemory returns what of the resident set is pages of the program's file, in bytes.
func programMemory(pid int) (sum int64, err error) {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return 0, err
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0, err
	}
	mapped := false
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		switch {
		case strings.Contains(f[0], "-"): // a range, its rights, and at the end what is mapped there
			mapped = f[len(f)-1] == path
		case mapped && (f[0] == "Rss:" || f[0] == "Anonymous:"):
			kb, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0, err
			}
			if f[0] == "Anonymous:" { // pages of it that were written to are the process's own
				kb = -kb
			}
			sum += kb << 10
		}
	}
	if sum <= 0 {
		return 0, fmt.Errorf("process %d has no pages of %s", pid, path)
	}
	return sum, nil
}

// cpu returns the processor time a process has used, in user and system mode.
func cpu(pid int) (time.Duration, error) {
	f, err := stat(pid)
	if err != nil {
		return 0, err
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// stat is what the kernel says of a process behind its name (proc_pid_stat(5)): the third
// field is the first here.
func stat(pid int) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])), nil
}

// post sends one message and waits for its reply.
func post(ctx context.Context, client *http.Client, d *daemon, token, session, text string) error {
	_, err := request(ctx, client, d.info.Gateway+"/v1/messages?wait=30s", token, session, text, http.StatusOK)
	return err
}

// hand gives one message over, and returns its id as soon as that is accepted.
func hand(ctx context.Context, client *http.Client, d *daemon, token, session, text string) (id string, err error) {
	return request(ctx, client, d.info.Gateway+"/v1/messages", token, session, text, http.StatusAccepted)
}

func request(ctx context.Context, client *http.Client, url, token, session, text string, want int) (id string, err error) {
	body, err := json.Marshal(map[string]string{"session": session, "text": text})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != want {
		return "", fmt.Errorf("answered %d: %s", res.StatusCode, answer)
	}
	var got struct{ ID string }
	err = json.Unmarshal(answer, &got)
	return got.ID, err
}
