// SPDX-License-Identifier: MIT OR Apache-2.0

package deploy

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/cli"
	"github.com/blufio/blufio/deploy/internal/runbook"
)

// TestMain lets the test binary stand in for the program where it bears its name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "blufio" {
		os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(m.Run())
}

// desk is where a person works: a directory with a daemon of its own.
type desk struct {
	dir string
	env []string
}

func (d desk) config() string { return filepath.Join(d.dir, ".config", "blufio", "blufio.toml") }

// newDesk starts a daemon that ends with the test.
func newDesk(t *testing.T) desk {
	t.Helper()
	d := desk{dir: t.TempDir()}
	bin := filepath.Join(d.dir, "bin")
	for _, dir := range []string{bin, filepath.Dir(d.config())} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	copyProgram(t, filepath.Join(bin, "blufio"))
	d.env = []string{"HOME=" + d.dir, "PATH=" + bin + ":" + os.Getenv("PATH"), "BLUFIO_DATA_DIR=" + filepath.Join(d.dir, "data"), "TMPDIR=" + d.dir}
	d.append(t, "[bus]\nlisten = \"127.0.0.1:0\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n[memory]\nlimit_mb = 2000\n[telegram]\napi_url = \"http://127.0.0.1:9\"\n")
	daemon := d.command(filepath.Join(bin, "blufio"), "serve")
	daemon.Stdout, daemon.Stderr = t.Output(), t.Output()
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM) // it may have ended, which Wait tells
		if err := daemon.Wait(); err != nil {
			t.Errorf("the daemon ended with %v", err)
		}
	})
	if out, err := d.command(filepath.Join(bin, "blufio"), "health", "--wait", "60s").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return d
}

// copyProgram and not a link: a daemon starts another by the name of its file.
func copyProgram(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if os.Link(self, to) == nil { // a hard one has a name of its own
		return
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

func (d desk) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = d.dir, d.env, 10*time.Second
	return cmd
}

// append puts settings at the end of the configuration, in place of those that stand in the
// way.
func (d desk) append(t *testing.T, text string) {
	t.Helper()
	before, err := os.ReadFile(d.config())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for header := range strings.Lines(text) {
		if strings.HasPrefix(header, "[") { // a table stands there once: the runbook's own counts
			before = []byte(without(string(before), header))
		}
	}
	if err := os.WriteFile(d.config(), append(before, text...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// without is text without the table that begins with header.
func without(text, header string) string {
	before, rest, found := strings.Cut(text, header)
	if !found {
		return text
	}
	if next := strings.Index(rest, "\n["); next >= 0 {
		return before + rest[next+1:]
	}
	return before
}

// Every command of the runbooks that needs no systemd does what the page says, in the order
// of the page. The others are run on a machine that boots (deploy/e2e).
func TestRunbooks(t *testing.T) {
	pages, err := runbook.Read("../docs/runbooks")
	if err != nil || len(pages) < 9 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		t.Run(page.Name, func(t *testing.T) {
			t.Parallel()
			var d desk
			for _, b := range page.Blocks {
				if b.Kind == runbook.Machine {
					continue
				}
				if d.dir == "" {
					d = newDesk(t)
				}
				if b.Kind == runbook.Settings {
					d.append(t, b.Text)
					b.Text = "blufio config validate"
				}
				d.run(t, fmt.Sprintf("%s.md:%d", page.Name, b.Line), b)
			}
		})
	}
}

// run types a block; whatever asks for something gets a line.
func (d desk) run(t *testing.T, where string, b runbook.Block) {
	t.Helper()
	cmd := d.command("bash", "-c", b.Script())
	cmd.Stdin = strings.NewReader("1234567:planted-planted-planted-planted-planted\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s\n%s", where, err, b.Text, out)
	}
}
