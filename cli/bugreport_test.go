// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// unpack reads an archive: names without its directory, and contents.
func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_, name, ok := strings.Cut(h.Name, "/")
		if !ok || h.Mode != 0o600 {
			t.Errorf("%s has mode %o", h.Name, h.Mode)
		}
		files[name] = string(data)
	}
}

// A report of a daemon full of secrets has everything in it but them, and but what
// people wrote. So that the search cannot pass because nothing was there, the marks
// beside the secrets have to be found.
func TestBugReportHasNoSecrets(t *testing.T) {
	t.Parallel()
	p := plant(t, "text")
	p.talk()
	path := filepath.Join(p.dir, "report.tar.gz")
	shown := p.command("", "bugreport", path)
	for _, want := range []string{path, "log.txt", "heap.pprof", "look at it before you send it"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %s in %s", want, shown)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	files := unpack(t, path)
	for name, want := range map[string]string{
		"README.txt": "goroutines.txt", "version.json": `"version"`, "system.json": `"BLUFIO_VAULT_KEY"`, "status.json": bus.StatusSchema, "config.json": `"key": "openai.api_key"`,
		"events.jsonl": "evt.turn.failed", "log.txt": "MARK-", "goroutines.txt": "goroutine ", "metrics.txt": "blufio_log_kept_bytes", "doctor.json": `"mode": "live"`, "heap.pprof": "",
	} {
		text, ok := files[name]
		if !ok || !strings.Contains(text, want) {
			t.Errorf("%s has no %s: %.300s", name, want, text)
		}
		if strings.HasSuffix(name, ".json") && !json.Valid([]byte(text)) {
			t.Errorf("%s is not JSON: %.300s", name, text)
		}
	}
	z, err := gzip.NewReader(strings.NewReader(files["heap.pprof"])) // it must not hide one either
	if err != nil {
		t.Fatal(err)
	}
	heap, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	files["heap, decompressed"] = string(heap)
	if strings.Contains(files["events.jsonl"], "MARK-TYPED") || !strings.Contains(files["events.jsonl"], "[left out]") {
		t.Error("what a person wrote is in the events")
	}
	for name, text := range files {
		for secret, value := range p.secrets {
			if at := spot(text, value); at >= 0 {
				t.Errorf("%s has the secret of %s: …%.200q", name, secret, text[max(0, at-80):])
			}
		}
	}
	// Nothing is overwritten, and a directory is as good as a name.
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := Main([]string{"bugreport", path}, strings.NewReader(""), &out, &errs, p.environ); code != exitFailed || !strings.Contains(errs.String(), "nothing is overwritten") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the first report has changed: %v", err)
	}
	p.stop()
}

// However many events there are, those of a report are the newest.
func TestBugReportHasTheNewestEvents(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.start()
	talk := p.command("shell")
	talk.Stdin = strings.NewReader(strings.Repeat("hello\n", 2*reportEvents/3)) // a message is four events
	p.check(talk.Run())
	path := p.file("report.tar.gz")
	p.check(p.command("bugreport", path).Run())
	all, err := p.command("events", "--no-follow", "--json").Output()
	p.check(err)
	want := strings.Split(strings.TrimSpace(string(all)), "\n")
	got := strings.Split(strings.TrimSpace(unpack(t, path)["events.jsonl"]), "\n")
	if len(want) < 2*reportEvents || len(got) != reportEvents || positionOf(t, got[0]) <= positionOf(t, want[0]) || positionOf(t, got[len(got)-1]) < positionOf(t, want[len(want)-1])-20 {
		t.Errorf("%d of %d: from %.100s to %.100s, want up to %.100s", len(got), len(want), got[0], got[len(got)-1], want[len(want)-1])
	}
}

func positionOf(t *testing.T, line string) int64 {
	var e bus.EventRecord
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatalf("%v in %.200s", err, line)
	}
	return e.Position
}

// Without a daemon there is what can be had without one, and what is missing is told.
func TestBugReportWithoutDaemon(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "blufio.toml"), []byte("[openai]\napi_key = \"sesame-planted\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"HOME=" + dir, "BLUFIO_DATA_DIR=" + filepath.Join(dir, "data"), "BLUFIO_CONFIG=" + filepath.Join(dir, "blufio.toml"),
		"BLUFIO_BUS__LISTEN=127.0.0.1:0", "BLUFIO_GATEWAY__LISTEN=127.0.0.1:0"}
	var out, errs bytes.Buffer
	if code := Main([]string{"bugreport", dir, "--json"}, strings.NewReader(""), &out, &errs, environ); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	report := decodeAs[packed](t, out.Bytes())
	missing := fmt.Sprint(report.Missing)
	for _, name := range []string{"log.txt", "goroutines.txt", "heap.pprof", "events.jsonl", "not running"} {
		if !strings.Contains(missing, name) {
			t.Errorf("%s is not said to be missing: %s", name, missing)
		}
	}
	files := unpack(t, report.Path)
	if !strings.Contains(files["doctor.json"], `"mode": "offline"`) || !strings.Contains(files["config.json"], `"[redacted]"`) || !strings.Contains(files["README.txt"], "not here: log.txt") {
		t.Errorf("%v", files)
	}
	for name, text := range files {
		if strings.Contains(text, "sesame") {
			t.Errorf("%s has a secret", name)
		}
	}
	// A configuration that nobody can load is what the report is about.
	if err := os.WriteFile(filepath.Join(dir, "blufio.toml"), []byte("[openai]\napi_key = \"sesame-planted\"\nbase = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if code := Main([]string{"bugreport", filepath.Join(dir, "broken.tar.gz")}, strings.NewReader(""), &out, &errs, environ); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	if files = unpack(t, filepath.Join(dir, "broken.tar.gz")); !strings.Contains(files["config.json"], "openai.base") || strings.Contains(fmt.Sprint(files), "sesame") {
		t.Errorf("%s", files["config.json"])
	}
}

// The events of a report have a bound in bytes, and the newest are in it.
func TestEventLinesAreBounded(t *testing.T) {
	var events []bus.EventRecord
	for i := range 300 {
		payload, err := json.Marshal(map[string]any{"text": "what a person wrote", "detail": strings.Repeat("x", 8<<10), "n": i})
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, bus.EventRecord{Position: int64(i), Time: time.Now(), Event: "evt.test", Payload: payload})
	}
	data, err := eventLines(events)
	if err != nil || len(data) > reportEventBytes || len(data) < reportEventBytes-10<<10 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if !bytes.Contains(data, []byte(`"position":299`)) || bytes.Contains(data, []byte(`"position":1,`)) || bytes.Contains(data, []byte("a person wrote")) {
		t.Error("the wrong ones")
	}
}
