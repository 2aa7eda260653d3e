// SPDX-License-Identifier: MIT OR Apache-2.0

// Package hooks_test runs the shipped hooks as the daemon does.
package hooks_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// run runs a hook with variables and input, and returns what it said.
func run(t *testing.T, stdin string, env []string, argv ...string) (string, error) {
	t.Helper()
	hook, err := filepath.Abs(argv[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), hook, argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin = t.TempDir(), append([]string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}, env...), strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestRequireMount(t *testing.T) {
	if out, err := run(t, "", nil, "require-mount", "/proc"); err != nil {
		t.Errorf("/proc is mounted: %v %s", err, out)
	}
	if out, err := run(t, "", nil, "require-mount", t.TempDir()); err == nil || !strings.Contains(out, "nothing is mounted on ") {
		t.Errorf("a plain directory: %v %s", err, out)
	}
	if _, err := run(t, "", nil, "require-mount", "/no/such"); err == nil {
		t.Error("a directory that is not there is taken for a mount")
	}
}

func TestNoteBackup(t *testing.T) {
	for want, env := range map[string][]string{
		`^\S+Z ok: 123 bytes /b/x.tar.zst\n$`:          {"BLUFIO_BACKUP_PATH=/b/x.tar.zst", "BLUFIO_BACKUP_BYTES=123", "BLUFIO_ERROR="},
		`^\S+Z ok: 123 bytes to the command line\n$`:   {"BLUFIO_BACKUP_PATH=", "BLUFIO_BACKUP_BYTES=123", "BLUFIO_ERROR="},
		`^\S+Z failed: no space left on the device\n$`: {"BLUFIO_ERROR=no space left on the device"},
	} {
		file := filepath.Join(t.TempDir(), "last")
		if out, err := run(t, "", env, "note-backup", file); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		got, err := os.ReadFile(file)
		if err != nil || !regexp.MustCompile(want).Match(got) {
			t.Errorf("got %q, %v; want %s", got, err, want)
		}
	}
}

func TestPostAlert(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("curl is needed: the hook runs it")
	}
	status := http.StatusOK
	var title, body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		title, body = r.Header.Get("Title"), string(data)
		w.WriteHeader(status)
	}))
	defer server.Close()
	env := []string{"BLUFIO_NODE=home", "BLUFIO_ALERT=budget.exhausted", "BLUFIO_ALERT_COUNT=2"}
	if out, err := run(t, `{"period":"day"}`, env, "post-alert", server.URL); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if title != "blufio on home: budget.exhausted (2)" || body != `{"period":"day"}` {
		t.Errorf("sent %q %q", title, body)
	}
	status = http.StatusInternalServerError
	if out, err := run(t, `{}`, env, "post-alert", server.URL); err == nil {
		t.Errorf("a refusal is no failure: %s", out)
	}
}

// What README.md says of the variables is what the daemon's package says.
func TestReadmeNamesEveryVariable(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "services", "hooks", "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`BLUFIO_[A-Z_]+`)
	for _, pair := range [][2]string{{string(readme), string(doc)}, {string(doc), string(readme)}} {
		for _, name := range names.FindAllString(pair[0], -1) {
			if !strings.Contains(pair[1], name) {
				t.Errorf("%s is in one of README.md and doc.go alone", name)
			}
		}
	}
}
