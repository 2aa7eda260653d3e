// SPDX-License-Identifier: MIT OR Apache-2.0

// Package litestream_test runs the recipe: a daemon under load is replicated, and
// another one starts on what comes back. It takes Litestream from BLUFIO_LITESTREAM or
// the PATH; CI installs it.
package litestream_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/cli"
	"github.com/blufio/blufio/services/serve"
)

func TestReplicaComesBack(t *testing.T) {
	program := os.Getenv("BLUFIO_LITESTREAM")
	if program == "" {
		var err error
		if program, err = exec.LookPath("litestream"); err != nil {
			t.Skip("Litestream is not installed; BLUFIO_LITESTREAM names it")
		}
	}
	work := t.TempDir()
	data, back := filepath.Join(work, "data"), filepath.Join(work, "back")
	env := append(os.Environ(), "BLUFIO_DATA_DIR="+data, "LITESTREAM_REPLICA=file://"+filepath.Join(work, "replica"))
	stopDaemon := daemon(t, data)
	ids := say(t, data, 0, 5)
	stopReplica := replicate(t, program, env)
	ids = append(ids, say(t, data, 5, 100)...)
	stopReplica() // it sends what is left
	stopDaemon()

	if err := os.Mkdir(back, 0o700); err != nil {
		t.Fatal(err)
	}
	restore := exec.CommandContext(t.Context(), program, "restore", "-config", "litestream.yml", "-o", filepath.Join(back, "blufio.db"), filepath.Join(data, "blufio.db"))
	restore.Env = env
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	device, err := os.ReadFile(filepath.Join(data, "device.nk"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(back, "device.nk"), device, 0o600); err != nil {
		t.Fatal(err)
	}
	daemon(t, back)
	for i, id := range ids {
		if out := blufio(t, back, "message", "--json", id); !strings.Contains(out, fmt.Sprintf("message %d\"", i)) || !strings.Contains(out, `"answered"`) {
			t.Errorf("message %d: %s", i, out)
		}
	}
}

// say sends messages of these numbers, waits for each answer, and returns their ids.
func say(t *testing.T, data string, first, end int) (ids []string) {
	t.Helper()
	for i := first; i < end; i++ {
		var answer struct{ ID string }
		out := blufio(t, data, "send", "--json", fmt.Sprintf("message %d", i))
		if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.ID == "" {
			t.Fatalf("send: %v: %s", err, out)
		}
		ids = append(ids, answer.ID)
	}
	return ids
}

// replicate runs Litestream until stop.
func replicate(t *testing.T, program string, env []string) (stop func()) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "replicate", "-config", "litestream.yml")
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("litestream ended with %v", err)
		}
		if strings.Contains(out.String(), "level=ERROR") {
			t.Errorf("litestream had trouble:\n%s", &out)
		}
	}
}

// daemon runs a daemon on a data directory until stop or the test's end.
func daemon(t *testing.T, data string) (stop func()) {
	t.Helper()
	cfg := serve.Defaults()
	cfg.Gateway.Listen, cfg.Bus.Listen, cfg.Memory.LimitMB = "127.0.0.1:0", "127.0.0.1:0", 2000
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- serve.Run(ctx, serve.Options{Config: cfg, DataDir: data, Version: "test", Logger: bustest.Logger(t), Ready: func(serve.Info) { close(ready) }})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("the daemon ended with %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the daemon is not ready after 20 s")
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// blufio runs a command of the program and returns what it prints.
func blufio(t *testing.T, data string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := cli.Main(args, strings.NewReader(""), &out, &errs, []string{"BLUFIO_DATA_DIR=" + data, "HOME=" + data}); code != 0 {
		t.Fatalf("blufio %v: exit code %d: %s%s", args, code, &out, &errs)
	}
	return out.String()
}
