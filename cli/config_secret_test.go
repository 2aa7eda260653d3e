// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
)

// On a terminal a secret is asked for, can be mended while it is typed, and is not
// shown; what is shown is how long it is.
func TestSecretIsAskedFor(t *testing.T) {
	const secret = "sesame-typed"
	for name, c := range map[string]struct {
		keys, shown string
		code        int
	}{
		"typed":        {secret + "\r", "(12 characters)", 0},
		"mended":       {"nonsense\x15sesame-typex\x7fd\r", "(12 characters)", 0},
		"longer":       {strings.Repeat("x", 6000) + "\x15" + secret + "\r", "(12 characters)", 0}, // than a cooked line can be
		"interrupted":  {"half\x03", "nothing was changed", exitInterrupted},
		"nothing":      {"\r", "nothing was given", exitUsage},
		"with a blank": {"sesame typed\r", "has a space", exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			main, tty := openTerminal(t)
			s := watchScreen(main)
			code := make(chan int)
			go func() {
				code <- Main([]string{"config", "set-secret", "anthropic.api_key"}, tty, tty, tty,
					[]string{"TERM=xterm", "HOME=" + t.TempDir(), "BLUFIO_DATA_DIR=" + dir})
			}()
			s.wait(t, "(it is not shown): ")
			for part := range strings.SplitAfterSeq(c.keys, "\x15") {
				if _, err := main.WriteString(part); err != nil {
					t.Fatal(err)
				}
			}
			if got := <-code; got != c.code {
				t.Errorf("exit code %d, want %d\n%s", got, c.code, s)
			}
			s.wait(t, c.shown)
			main.Close()
			for _, typed := range []string{"sesame", "half", "nonsense", "xxx"} {
				if strings.Contains(s.String(), typed) {
					t.Errorf("the screen shows what was typed:\n%s", s)
				}
			}
			names, _ := serve.SecretNames(context.WithoutCancel(t.Context()), dir, slog.New(slog.DiscardHandler))
			if (len(names) == 1) != (c.code == 0) {
				t.Errorf("kept: %v", names)
			}
		})
	}
}

// The list for people and that for scripts.
func TestSecretTable(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a := &app{out: &strings.Builder{}, now: func() time.Time { return now }}
	l := bus.SecretList{State: bus.VaultOpen, Source: bus.KeyPassphrase, Secrets: []bus.SecretInfo{
		{Name: "a\x1b[31m", SetAt: now.Add(-time.Hour)}, {Name: "b", SetAt: now, Unreadable: true}, {Name: "c", SetAt: now, Overridden: "flag c"}}}
	got := a.secretTable(l, false)
	for _, want := range []string{"1h", "damaged: set it again", "flag c counts more", "the vault is locked with BLUFIO_VAULT_KEY\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") || strings.Contains(got, "beside") {
		t.Errorf("%q", got)
	}
	l.Secrets = nil
	if got := a.secretTable(l, true); got != "nothing is kept; the vault is locked with BLUFIO_VAULT_KEY, which lies beside what it protects\n" {
		t.Error(got)
	}
}

// What root keeps while no daemon runs belongs to the owner of the data directory, who
// could not read it otherwise.
func TestRootBecomesTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const owner = 65534
	dir, err := os.MkdirTemp("/tmp", "blufio-owner-") // the owner has to get there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(data, 0o700), os.Chown(data, owner, owner)); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"set-secret", "a.b"}, {"rotate-vault-key"}, {"list-secrets"}} {
		cmd := exec.Command(self)
		cmd.Args = append([]string{"blufio", "config"}, args...)
		cmd.Env = []string{"BLUFIO_DATA_DIR=" + data, "HOME=" + dir}
		cmd.Stdin = strings.NewReader("sesame\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	files, err := os.ReadDir(data)
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Sys().(*syscall.Stat_t).Uid != owner {
			t.Errorf("%s: %v, %v", f.Name(), info, err)
		}
	}
}

// On a terminal the passphrase of now is asked for where the environment has none, and
// the new one twice.
func TestPassphraseIsAskedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	environ := []string{"TERM=xterm", "HOME=" + t.TempDir(), "BLUFIO_DATA_DIR=" + dir}
	var out strings.Builder
	if code := Main([]string{"config", "set-secret", "a.b"}, strings.NewReader("sesame-1"), &out, &out, append(environ, serve.PassphraseVariable+"=sesame-first")); code != 0 {
		t.Fatal(out.String())
	}
	for _, c := range []struct {
		keys []string
		want string
		code int
	}{
		{[]string{"sesame-wrong", "sesame-then", "sesame-then"}, "does not open the vault", exitFailed},
		{[]string{"sesame-first", "sesame-then", "sesame-thne"}, "the two are not the same", exitFailed},
		{[]string{"sesame-first", "short"}, "fewer than 8 bytes", exitUsage},
		{[]string{"sesame-first", "sesame-then", "sesame-then"}, "1 secret encrypted anew", exitOK},
		{[]string{"sesame-then", "sesame-first", "sesame-first"}, "1 secret encrypted anew", exitOK},
	} {
		main, tty := openTerminal(t)
		s := watchScreen(main)
		code := make(chan int)
		go func() {
			code <- Main([]string{"config", "rotate-vault-key", "--new-passphrase"}, tty, tty, tty, environ)
		}()
		for i, key := range c.keys {
			s.wait(t, []string{"the passphrase of now (it is not shown): ", "the new passphrase (it is not shown): ", "once more (it is not shown): "}[i])
			if _, err := main.WriteString(key + "\r"); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-code; got != c.code {
			t.Errorf("%v: exit code %d, want %d", c.keys, got, c.code)
		}
		s.wait(t, c.want)
		main.Close()
		if strings.Contains(s.String(), "sesame") {
			t.Errorf("the screen shows what was typed:\n%s", s)
		}
	}
}
