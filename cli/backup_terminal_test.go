// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// On a terminal a bar tells how far a backup is, and is gone when it is done; elsewhere, and
// beside JSON, nothing is said.
func TestBackupProgress(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.runOnce()
	main, tty := openTerminal(t)
	defer main.Close()
	s := watchScreen(main)
	var out strings.Builder
	if code := Main([]string{"backup", p.TempDir()}, os.Stdin, &out, tty, append(p.env, "TERM=xterm")); code != 0 {
		t.Fatalf("exit code %d: %s", code, s)
	}
	s.wait(t, "copying")
	s.wait(t, "writing")
	s.wait(t, "100 % of")
	s.until(t, "\r\x1b[K", strings.HasSuffix) // the terminal passes on what was written a moment later
	if shown := s.String(); strings.Contains(shown, "\n") {
		t.Errorf("what stays is %q", shown)
	}
	if !strings.Contains(out.String(), ".tar.zst\n") || strings.ContainsAny(out.String(), "\r\x1b") {
		t.Errorf("standard output has %q", &out)
	}
	before := s.String()
	out.Reset()
	if code := Main([]string{"backup", filepath.Join(p.TempDir(), "two"), "--json"}, os.Stdin, &out, tty, append(p.env, "TERM=xterm")); code != 0 || !strings.HasPrefix(out.String(), "{\n") {
		t.Errorf("exit code %d: %s", code, &out)
	}
	if s.String() != before {
		t.Errorf("beside JSON the terminal has %q", s.String()[len(before):])
	}
}

// A slip in the path is met before the daemon is asked, for whom it would be a backup that failed.
func TestBackupRefusesThePathItself(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "one.tar.zst")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, file + "/", filepath.Join(file, "two"), filepath.Join(dir, "none", "two"), filepath.Join(dir, "none") + "/", os.DevNull} {
		if err := (backupWish{path: path}).free(); err == nil {
			t.Errorf("%s is taken", path)
		}
	}
}
