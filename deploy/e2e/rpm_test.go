// SPDX-License-Identifier: MIT OR Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRPM lives a shorter life with the .rpm: its scripts are the same and are told
// otherwise what happens. Debian's rpm installs it, which knows of no package that it
// would need.
func TestRPM(t *testing.T) {
	m := boot(t)
	for _, version := range []string{"1.0.0", "1.0.1"} {
		m.give(filepath.Join(os.Getenv("E2E_PACKAGES"), "blufio-"+version+"-1.x86_64.rpm"), "/root/"+version+".rpm")
	}
	rpm := func(args ...string) string { return m.run(append([]string{"rpm", "--nodeps"}, args...)...) }
	m.step("install", func() {
		rpm("--install", "/root/1.0.0.rpm")
		m.installed()
		if out := m.run("rpm", "--verify", "--nodeps", "blufio"); out != "" {
			m.Errorf("what is installed is not what is in the package:\n%s", out)
		}
		if got := m.prop("blufio", "ActiveState"); got != "inactive" {
			m.Errorf("what is only installed is %s", got)
		}
		m.put("/etc/blufio/blufio.toml", "640", "root:blufio", configuration)
		m.sh("echo sk-planted-planted-planted-planted | blufio config set-secret openai.api_key")
		m.run("systemctl", "enable", "--now", "blufio")
		m.healthy("")
	})
	m.step("upgrade", func() {
		token := m.token()
		stop := m.load(token)
		rpm("--upgrade", "/root/1.0.1.rpm")
		if out := m.run("blufio", "status"); !strings.Contains(out, "v1.0.1") {
			m.Errorf("after the upgrade runs\n%s", out)
		}
		for _, id := range stop() {
			m.answered(token, id, "you said: number ")
		}
		if out := m.run("cat", "/etc/blufio/blufio.toml"); out != configuration {
			m.Errorf("the configuration is now\n%s", out)
		}
		if got := m.try("systemctl", "is-enabled", "blufio"); strings.TrimSpace(got) != "enabled" {
			m.Errorf("after the upgrade it is %s", got)
		}
	})
	m.step("erase", func() {
		rpm("--erase", "blufio")
		if out := m.try("pgrep", "-x", "blufio"); out != "" {
			m.Errorf("still there: %s", out)
		}
		m.run("test", "-e", "/var/lib/blufio/blufio.db", "-a", "!", "-e", "/usr/bin/blufio")
		if out := m.run("cat", "/etc/blufio/blufio.toml.rpmsave"); out != configuration { // as rpm does with what was changed
			m.Errorf("the configuration that is kept is\n%s", out)
		}
		if got := m.try("systemctl", "list-unit-files", "--no-legend", "blufio*"); got != "" {
			m.Errorf("systemd still has %s", got)
		}
	})
	m.step("again", func() {
		rpm("--install", "/root/1.0.1.rpm")
		m.run("mv", "/etc/blufio/blufio.toml.rpmsave", "/etc/blufio/blufio.toml")
		m.run("systemctl", "start", "blufio")
		token := m.token()
		m.answered(token, m.say(token, "back again"), "you said: back again")
	})
}
