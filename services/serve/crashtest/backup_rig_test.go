// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/backup"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// killed is the exit code of a command that was ended by SIGKILL.
const killed = -9

// said is what a command said.
type said struct {
	out  []byte
	err  string
	code int
}

// command is one of the binary's on the plan's data.
func (p plan) command(t *testing.T, binary string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append(args, "--data-dir", p.data(), "--config", p.config())...)
	cmd.Env = append([]string{"HOME=" + p.dir, "PATH=" + os.Getenv("PATH")}, env...)
	return cmd
}

// run runs one to its end.
func (p plan) run(t *testing.T, binary string, env []string, args ...string) said {
	t.Helper()
	cmd := p.command(t, binary, env, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	return ended(t, cmd.Run(), &out, &stderr)
}

func ended(t *testing.T, err error, out, stderr *bytes.Buffer) said {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return said{out.Bytes(), stderr.String(), 0}
	case !errors.As(err, &exit):
		t.Fatal(err)
	case exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return said{out.Bytes(), stderr.String(), killed}
	}
	return said{out.Bytes(), stderr.String(), exit.ExitCode()}
}

func (g said) want(t *testing.T, code int, says string) {
	t.Helper()
	if g.code != code || !strings.Contains(g.err, says) || strings.Contains(g.err, "panic") {
		t.Errorf("exit code %d, want %d, and %q in\n%s%s", g.code, code, says, g.out, g.err)
	}
}

func (p plan) out() string { return filepath.Join(p.dir, "out") }

// begun lays out a directory whose database exists and holds n bytes more that do not compress.
func begun(t *testing.T, n int, more string) plan {
	t.Helper()
	p := plan{dir: t.TempDir()}
	if err := errors.Join(os.WriteFile(p.config(), []byte(settings+more), 0o600), os.Mkdir(p.out(), 0o700)); err != nil {
		t.Fatal(err)
	}
	d := start(t, p, build(t, shipped))
	d.awaitHealthy(t)
	d.stop(t)
	if n > 0 {
		p.bulk(t, n)
	}
	return p
}

// again is a copy of the plan, before anything ran on it.
func (p plan) again(t *testing.T) plan {
	t.Helper()
	q := plan{dir: filepath.Join(t.TempDir(), "plan")}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", p.dir, q.dir).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	return q
}

// bulk puts bytes that do not compress into the database of a stopped daemon.
func (p plan) bulk(t *testing.T, n int) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: p.database(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, n)
	_, _ = rand.Read(data)
	err = store.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`CREATE TABLE bulk (data BLOB); INSERT INTO bulk (data) VALUES (?)`, data)
		return err
	})
	if err = errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
}

// archives are the files in a directory that bear a final name, and what is unfinished there.
func archives(t *testing.T, dir string) (whole, unfinished []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(path, ".partial") || strings.HasPrefix(e.Name(), ".") {
			unfinished = append(unfinished, path)
		} else {
			whole = append(whole, path)
		}
	}
	return whole, unfinished
}

// wantWhole proves every file that bears a final name, and returns how many there are.
func (p plan) wantWhole(t *testing.T, dir string) int {
	t.Helper()
	whole, _ := archives(t, dir)
	for _, path := range whole {
		p.run(t, build(t, shipped), nil, "backup", "verify", path).want(t, 0, "")
	}
	return len(whole)
}

// wantNoScratch wants nothing left in the data directory of what was made on the way.
func (p plan) wantNoScratch(t *testing.T) {
	t.Helper()
	var left []os.DirEntry
	bustest.Eventually(t, "nothing is left in the data directory", func() (empty bool) { // a backup is told before it is swept up
		var err error
		left, err = os.ReadDir(backup.Scratch(p.data()))
		return len(left) == 0 && (err == nil || os.IsNotExist(err))
	}, func() any { return left })
}
