// SPDX-License-Identifier: MIT OR Apache-2.0

package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
)

// The files that compose.yaml brings in are there, its settings are valid, and its copies
// differ from the files that they are copies of in one address.
func TestCompose(t *testing.T) {
	text := readFile(t, "compose.yaml")
	var environ []string
	for _, m := range regexp.MustCompile(`(?m)^      (BLUFIO_[A-Z_]+): "(.*)"$`).FindAllStringSubmatch(text, -1) {
		environ = append(environ, m[1]+"="+m[2])
	}
	if len(environ) != 3 {
		t.Errorf("the settings are %q", environ)
	}
	cfg, loaded, err := serve.Load(config.Sources{Environ: environ, Prefix: "BLUFIO_"})
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := config.Check(&cfg, loaded); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if !strings.Contains(text, "\n    hostname: blufio\n") {
		t.Error("each new container is a daemon of another name")
	}
	mounts := regexp.MustCompile(`(?m)^      - \./([^:]+):`).FindAllStringSubmatch(text, -1)
	if len(mounts) != 6 {
		t.Errorf("the files are %q", mounts)
	}
	for _, m := range mounts {
		if info, err := os.Stat(m[1]); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %v", m[1], err)
		}
	}
	for _, c := range []struct{ copy, of, was, is string }{
		{"compose/prometheus.yml", "prometheus/prometheus.yml", "127.0.0.1:3000", "blufio:3000"},
		{"compose/datasource.yml", "grafana/provisioning/datasources/blufio.yml", "127.0.0.1:9090", "prometheus:9090"},
	} {
		if got, want := settingsOf(readFile(t, c.copy)), strings.ReplaceAll(settingsOf(readFile(t, c.of)), c.was, c.is); got != want {
			t.Errorf("%s is\n%s\nand not %s with %s:\n%s", c.copy, got, c.of, c.is, want)
		}
	}
}

// Compose understands the file, and would refuse what it does not know.
func TestComposeUnderstands(t *testing.T) {
	compose := program(t, "docker-compose")
	config := func(text string) error {
		file := filepath.Join(t.TempDir(), "compose.yaml")
		write(t, file, text)
		out, err := exec.Command(compose, "--project-directory", ".", "--file", file, "config", "--quiet").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	text := readFile(t, "compose.yaml")
	if err := config(text); err != nil {
		t.Error(err)
	}
	if config(strings.Replace(text, "mem_limit:", "mem_limits:", 1)) == nil {
		t.Error("it would take anything")
	}
}

// settingsOf leaves out whole lines of comment at the beginning.
func settingsOf(text string) string {
	return strings.TrimSpace(regexp.MustCompile(`(?m)\A(#.*\n)+`).ReplaceAllString(text, ""))
}

// The container gets what the unit gets.
func TestComposeFitsTheUnit(t *testing.T) {
	text, unit := readFile(t, "compose.yaml"), settings(readFile(t, contrib+"blufio.service"))
	for key, want := range map[string]string{"MemoryMax": "mem_limit: 256m", "TasksMax": "pids_limit: 256"} {
		_, value, _ := strings.Cut(want, ": ")
		if !strings.Contains(text, want) || !strings.EqualFold(unit[key][0], value) {
			t.Errorf("the unit has %s=%s, compose.yaml should have %s", key, unit[key], want)
		}
	}
}
