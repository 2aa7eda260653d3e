// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cgroup is a memory control group with a limit, version 1 or 2.
type cgroup struct {
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

// newCgroup makes one, or says why not.
func newCgroup(limit int64) (*cgroup, error) {
	var errs []error
	for _, v := range versions {
		g := &cgroup{dir: filepath.Join(v.root, "blufio-soak-"+strconv.Itoa(os.Getpid())), limit: limit, files: v}
		err := g.make()
		if err == nil {
			return g, nil
		}
		errs = append(errs, fmt.Errorf("version %d: %w", v.version, err))
	}
	return nil, errors.Join(errs...)
}

func (g *cgroup) make() error {
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	err := g.write(g.files.limit, g.limit)
	if err == nil {
		_, err = g.oomKills()
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

func (g *cgroup) write(file string, n int64) error {
	f, err := os.OpenFile(filepath.Join(g.dir, file), os.O_WRONLY|os.O_TRUNC, 0) // never create: it is there, or this is no memory group
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.FormatInt(n, 10))
	return errors.Join(err, f.Close())
}

// oomKills is how many processes in it the kernel has killed for memory.
func (g *cgroup) oomKills() (int, error) {
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

// wrap puts a command line into the group, and on the first processor if pinned.
func wrap(g *cgroup, pinned bool, args ...string) []string {
	script := `exec "$@"`
	if pinned {
		script = `exec taskset -c 0 "$@"`
	}
	if g != nil {
		script = `echo $$ > "` + g.dir + `/cgroup.procs" && ` + script
	}
	return append([]string{"sh", "-c", script, "sh"}, args...)
}

// remove takes the group away. The kernel needs a moment after its last process.
func (g *cgroup) remove() error {
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
