// SPDX-License-Identifier: MIT OR Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/deploy/internal/runbook"
)

// TestRunbooks types what the runbooks say, on a machine that was never used: it is installed,
// watched, gets into trouble, is upgraded and set back, and is gone and restored.
func TestRunbooks(t *testing.T) {
	m := boot(t)
	pages, err := runbook.Read("../../docs/runbooks")
	if err != nil {
		t.Fatal(err)
	}
	m.prometheus()
	for _, version := range []string{"1.0.0", "1.0.1"} {
		m.give(packageOf(t, version), "/root/blufio_"+version+"-1_amd64.deb")
	}
	typed := map[string]bool{}
	follow := func(name string, check func()) {
		typed[name] = true
		m.step(name, func() {
			m.follow(pages, name)
			check()
		})
	}
	follow("install", func() { m.healthy(""); m.scraped() })
	follow("memory-pressure", func() {
		if got := m.prop("blufio", "MemoryMax"); got != "402653184" {
			m.Errorf("MemoryMax is %s", got)
		}
	})
	follow("out-of-disk", func() { m.healthy("") })
	follow("upgrade", func() {
		if out := m.run("blufio", "status"); !strings.Contains(out, "v1.0.0") {
			m.Errorf("it did not go back:\n%s", out)
		}
		m.healthy("")
	})
	m.run("blufio", "send", "zanzibar")
	m.run("blufio", "backup", "/root/backup.tar.zst")
	m.run("dpkg", "--purge", "blufio") // the machine is gone
	follow("restore", func() {
		m.healthy("")
		if out := m.run("blufio", "config", "list-secrets"); !strings.Contains(out, "openai.api_key") {
			m.Errorf("the secrets are gone:\n%s", out)
		}
		if out := m.run("blufio", "send", "are you the old one"); !strings.Contains(out, "you said: are you the old one") {
			m.Errorf("it answers %s", out)
		}
	})
	for _, page := range pages {
		for _, b := range page.Blocks {
			if b.Kind == runbook.Machine && !typed[page.Name] {
				t.Errorf("nobody types %s.md:%d", page.Name, b.Line)
			}
		}
	}
}

// follow types a page's blocks for a machine, in /root, and one key to whatever asks.
func (m *machine) follow(pages []runbook.Page, name string) {
	m.Helper()
	for _, page := range pages {
		for _, b := range page.Blocks {
			if page.Name != name || b.Kind != runbook.Machine {
				continue
			}
			// Nothing of Debian's archive is within reach: prometheus is this machine's.
			script := strings.Replace(b.Script(), "sudo apt-get install -y --no-install-recommends prometheus", ":", 1)
			cmd := m.command("bash", "-c", "cd /root\n"+script)
			cmd.Stdin = strings.NewReader("sk-planted-planted-planted-planted\n")
			if out, err := cmd.CombinedOutput(); err != nil {
				m.Fatalf("%s.md:%d: %v\n%s\n%s", name, b.Line, err, b.Text, out)
			}
			if strings.Contains(b.Text, "tee -a /etc/blufio/blufio.toml") { // and the vendor is ours
				m.sh("printf '[openai]\\nbase_url = \"http://" + modelAddress + "/v1\"\\n' >>/etc/blufio/blufio.toml")
			}
		}
	}
}

// prometheus is installed as Debian's package would.
func (m *machine) prometheus() {
	m.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		m.Fatalf("make e2e needs prometheus: %v", err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		m.Fatal(err)
	}
	m.give(path, "/usr/bin/prometheus")
	m.run("chmod", "755", "/usr/bin/prometheus")
	m.run("mkdir", "-p", "/etc/prometheus", "/var/lib/prometheus")
	m.put("/etc/systemd/system/prometheus.service", "644", "root:root", `[Service]
ExecStart=/usr/bin/prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/var/lib/prometheus
`)
	m.run("systemctl", "daemon-reload")
}

// scraped waits until prometheus has what the daemon tells.
func (m *machine) scraped() {
	m.Helper()
	var last string
	defer func() { m.Log(last) }()
	m.eventually(60*time.Second, "Prometheus scrapes the daemon", func() bool {
		resp, err := m.client.Get("http://127.0.0.1:9090/api/v1/query?query=blufio_build_info")
		if err != nil {
			last = err.Error()
			return false
		}
		defer resp.Body.Close() //nolint:errcheck // it was only read
		text, err := io.ReadAll(resp.Body)
		last = fmt.Sprintf("%s %v", text, err)
		return resp.StatusCode == http.StatusOK && strings.Contains(last, `"job":"blufio"`)
	})
}
