// SPDX-License-Identifier: MIT OR Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary stand in for a daemon that maps a model, where it bears
// that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "mapper" {
		if err := mapper(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// mapper maps a file as the embedding model does, and reads every page of it, twice.
func mapper(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", path, err)
	}
	sum := 0
	for range 2 {
		for at := 0; at < len(data); at += os.Getpagesize() {
			sum += int(data[at])
		}
	}
	fmt.Println("read to the end", sum)
	return unix.Munmap(data)
}

var startLines = regexp.MustCompile(`(?m)^(ExecStart|ExecStartPost|ExecReload|Restart|StateDirectory|RuntimeDirectory)=.*\n`)

// modelFile is larger than MemoryMax, lies where the unit says that models go, and is
// mapped by a unit with all its rules.
func (m *machine) modelFile() {
	self, err := os.Executable()
	if err != nil {
		m.Fatal(err)
	}
	m.give(self, "/usr/bin/mapper")
	m.run("chmod", "755", "/usr/bin/mapper")
	m.sh("mkdir /var/lib/blufio/models && head -c 300M /dev/zero | tr '\\0' x >/var/lib/blufio/models/model.onnx")
	unit := startLines.ReplaceAllString(m.sh("cat /usr/lib/systemd/system/blufio.service"), "")
	unit = strings.Replace(unit, "Type=simple", "Type=oneshot\nExecStart=/usr/bin/mapper /var/lib/blufio/models/model.onnx", 1)
	m.put("/etc/systemd/system/mapper.service", "644", "root:root", unit)
	m.run("systemctl", "daemon-reload")
	if out, code := m.ends("systemctl", "start", "mapper"); code != 0 {
		m.Errorf("the unit's rules do not let a model be read: %s\n%s", out, m.try("journalctl", "-u", "mapper", "-n", "20", "--no-pager"))
	}
	if got := m.prop("mapper", "MemoryMax"); got != "268435456" {
		m.Errorf("its MemoryMax is %s", got)
	}
	if out, code := m.ends("blufio", "doctor", "--only", "BLF-FILE"); code == 1 {
		m.Errorf("doctor does not like a model of root's there:\n%s", out)
	}
	m.sh("rm -r /var/lib/blufio/models /usr/bin/mapper /etc/systemd/system/mapper.service; systemctl daemon-reload")
}
