// SPDX-License-Identifier: MIT OR Apache-2.0

// Package box makes the boxes in which the shipped binary is measured: a memory control
// group with a limit, version 1 or 2, and one processor of the machine.
package box

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Group is a memory control group with a limit. A nil one is none.
type Group struct {
	dir   string
	limit int64
	files groupFiles
}

// groupFiles are one version's names.
type groupFiles struct {
	version      int
	root         string
	limit        string
	swap         string // beside limit, so that nothing is swapped out; it may not be there
	events       string // has a line "oom_kill N"
	swapWithMain bool   // swap counts both, version 1
}

var versions = []groupFiles{
	{1, "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control", true},
	{2, "/sys/fs/cgroup", "memory.max", "memory.swap.max", "memory.events", false},
}

// NewGroup makes one with a name of its own, or says why not.
func NewGroup(name string, limit int64) (*Group, error) {
	var errs []error
	for _, v := range versions {
		g := &Group{dir: filepath.Join(v.root, "blufio-"+name+"-"+strconv.Itoa(os.Getpid())), limit: limit, files: v}
		err := g.make()
		if err == nil {
			return g, nil
		}
		errs = append(errs, fmt.Errorf("version %d: %w", v.version, err))
	}
	return nil, errors.Join(errs...)
}

func (g *Group) make() error {
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	err := g.write(g.files.limit, g.limit)
	if err == nil {
		_, err = g.OOMKills()
	}
	if err != nil {
		return errors.Join(err, os.Remove(g.dir))
	}
	swap := int64(0)
	if g.files.swapWithMain {
		swap = g.limit
	}
	_ = g.write(g.files.swap, swap) // a kernel without swap accounting has no such file
	return nil
}

func (g *Group) write(file string, n int64) error {
	f, err := os.OpenFile(filepath.Join(g.dir, file), os.O_WRONLY|os.O_TRUNC, 0) // never create: it is there, or this is no memory group
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.FormatInt(n, 10))
	return errors.Join(err, f.Close())
}

// OOMKills is how many processes in it the kernel has killed for memory.
func (g *Group) OOMKills() (int, error) {
	if g == nil {
		return 0, nil
	}
	data, err := os.ReadFile(filepath.Join(g.dir, g.files.events))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.Atoi(strings.TrimSpace(rest))
		}
	}
	return 0, fmt.Errorf("%s does not count oom_kill", g.files.events)
}

// Wrap puts a command line into the group, and on the first processor if pinned.
func Wrap(g *Group, pinned bool, args ...string) []string {
	script := `exec "$@"`
	if pinned {
		script = `exec taskset -c 0 "$@"`
	}
	if g != nil {
		script = `echo $$ > "` + g.dir + `/cgroup.procs" && ` + script
	}
	return append([]string{"sh", "-c", script, "sh"}, args...)
}

// Version is that of the kernel's interface, 1 or 2.
func (g *Group) Version() int { return g.files.version }

// Check reports an error unless a process is where [Wrap] put it.
func Check(g *Group, pinned bool, pid int) error {
	if g != nil {
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil {
			return err
		}
		if !strings.Contains(string(groups), "/"+filepath.Base(g.dir)+"\n") {
			return fmt.Errorf("process %d is not in %s", pid, g.dir)
		}
	}
	if !pinned {
		return nil
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	if !strings.Contains(string(status), "\nCpus_allowed_list:\t0\n") {
		return fmt.Errorf("process %d may use more than the first processor", pid)
	}
	return nil
}

// Remove takes the group away. The kernel needs a moment after its last process.
func (g *Group) Remove() error {
	if g == nil {
		return nil
	}
	var err error
	for range 50 {
		if err = os.Remove(g.dir); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}
