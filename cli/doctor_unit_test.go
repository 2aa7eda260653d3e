// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/contrib"
)

// A daemon that systemd started, as far as it can see, by a unit that a test writes.
func TestDoctorComparesTheUnit(t *testing.T) {
	t.Parallel()
	data, err := fs.ReadFile(contrib.Units, "blufio.service")
	if err != nil {
		t.Skip("this version ships no unit yet")
	}
	shipped := string(data)
	for _, b := range []breakage{
		{name: "the shipped one", pre: underSystemd(shipped), level: bus.LevelOK, seen: "/usr/local/lib/systemd/system/blufio.service"},
		{name: "another one", pre: underSystemd(strings.Replace(shipped, "NoNewPrivileges=yes\n", "", 1)), level: bus.LevelWarn, seen: "without [Service] NoNewPrivileges=yes", fix: "systemctl edit blufio"},
		{name: "a drop-in", pre: and(underSystemd(shipped), dropIn), level: bus.LevelInfo, seen: "blufio.service.d/more.conf", fix: "systemctl cat blufio"},
		{name: "a change that is not read yet", pre: and(underSystemd(shipped), func(p *patient) { p.systemctl("NeedDaemonReload=yes") }), level: bus.LevelWarn, seen: "has not read that yet", fix: "systemctl daemon-reload"},
	} {
		b.up, b.args, b.id = true, []string{"--deep"}, "BLF-SYS-007"
		b.run(t)
	}
}

// units is the directory that the daemon sees as /usr/local/lib/systemd/system.
func (p *patient) units() string { return filepath.Join(filepath.Dir(p.toml), "lib/systemd/system") }

// underSystemd shows the daemon a machine with a unit, and a control group of that unit,
// in a mount namespace of its own.
func underSystemd(unit string) func(*patient) {
	return func(p *patient) {
		p.Helper()
		own := "-m"
		if os.Geteuid() != 0 {
			own = "-rm"
		}
		if err := exec.Command("unshare", own, "true").Run(); err != nil && os.Getenv("CI") != "true" {
			p.Skipf("no mount namespace can be had (in CI this would fail): %v", err)
		}
		group := p.toml + ".cgroup"
		p.write(group, "1:name=systemd:/system.slice/blufio.service\n")
		p.check(os.MkdirAll(p.units(), 0o755))
		p.write(filepath.Join(p.units(), "blufio.service"), unit)
		p.ulim = fmt.Sprintf(`exec unshare %s sh -c 'mount --bind %s /proc/$$/cgroup && mount --bind %s /usr/local/lib && exec "$0" serve' "$0"`,
			own, group, filepath.Dir(filepath.Dir(p.units())))
	}
}

func dropIn(p *patient) {
	p.Helper()
	p.check(os.MkdirAll(filepath.Join(p.units(), "blufio.service.d"), 0o755))
	p.write(filepath.Join(p.units(), "blufio.service.d/more.conf"), "[Service]\nMemoryMax=1G\n")
}

// systemctl puts a program of that name first, which says something.
func (p *patient) systemctl(says string) {
	p.Helper()
	dir := p.TempDir()
	p.check(os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\necho "+says+"\n"), 0o755))
	p.env = append(p.env, "PATH="+dir+":"+os.Getenv("PATH"))
}
