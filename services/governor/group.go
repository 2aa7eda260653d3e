// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/blufio/blufio/services/internal/clip"
)

const (
	statmFile    = "proc/self/statm"
	statusFile   = "proc/self/status"
	pressureFile = "proc/pressure/memory"
	cgroupFile   = "proc/self/cgroup"
	cgroupMount  = "sys/fs/cgroup"
)

// unlimited is from where on version 1 means "no limit": it writes the largest
// multiple of the page size instead of a word.
const unlimited = 1 << 62

// group is the control group that counts: of the process's own and all above it
// the one with the lowest limit, or its own when there is no limit.
type group struct {
	limit int64  // 0: none
	dir   string // below the root; "" where there is none
	kind  *hierarchy
}

// hierarchy says how one version of control groups names its files.
type hierarchy struct {
	base     string
	limits   []string
	current  string
	kernel   string // beside memory.stat, which has it in version 2
	pressure string
	sum      func(stat []byte) (int64, bool) // of what the kernel cannot get back
}

var (
	version1 = &hierarchy{base: cgroupMount + "/memory", limits: []string{"memory.limit_in_bytes"}, current: "memory.usage_in_bytes",
		kernel: "memory.kmem.usage_in_bytes", sum: parseGroup1}
	version2 = &hierarchy{base: cgroupMount, limits: []string{"memory.max", "memory.high"}, current: "memory.current",
		pressure: "memory.pressure", sum: parseGroup2}
)

// findGroup looks for the control group that counts. With an error it is the one of
// those that could be read.
func findGroup(root fs.FS) (group, error) {
	content, err := fs.ReadFile(root, cgroupFile)
	if errors.Is(err, fs.ErrNotExist) {
		return group{}, nil
	}
	if err != nil {
		return group{}, fmt.Errorf("read control groups: %w", err)
	}
	var found group
	var errs []error
	for line := range strings.Lines(string(content)) {
		kind, name, ok := parseCgroup(strings.TrimSuffix(line, "\n"))
		if !ok {
			errs = append(errs, fmt.Errorf("read /%s: %q is not a control group", cgroupFile, clip.Marked(line, maxShown)))
			continue
		}
		if kind != nil {
			errs = append(errs, found.search(root, kind, name))
		}
	}
	return found, errors.Join(errs...)
}

// parseCgroup reads a line "ID:CONTROLLERS:PATH"; kind is nil where it has no
// memory. Version 2 is number 0 and names no controllers.
func parseCgroup(line string) (kind *hierarchy, name string, ok bool) {
	id, rest, ok := strings.Cut(line, ":")
	controllers, name, found := strings.Cut(rest, ":")
	if !ok || !found || !strings.HasPrefix(name, "/") {
		return nil, "", false
	}
	switch {
	case id == "0" && controllers == "":
		return version2, name, true
	case strings.Contains(","+controllers+",", ",memory,"):
		return version1, name, true
	}
	return nil, "", true
}

// search looks at the named group and at each one above it. One that is not there is
// skipped: in a container the mount begins at the container's own.
func (g *group) search(root fs.FS, kind *hierarchy, name string) error {
	var errs []error
	for name = path.Clean(name); ; name = path.Dir(name) {
		dir := path.Join(kind.base, name)
		for _, file := range kind.limits {
			limit, err := readLimit(root, path.Join(dir, file))
			errs = append(errs, err)
			if limit > 0 && (g.limit == 0 || limit < g.limit) {
				*g = group{limit, dir, kind}
			}
		}
		if _, err := fs.Stat(root, path.Join(dir, kind.current)); g.dir == "" && err == nil {
			g.dir, g.kind = dir, kind
		}
		if name == "/" {
			return errors.Join(errs...)
		}
	}
}

// readLimit is 0 for a file that is not there.
func readLimit(root fs.FS, name string) (int64, error) {
	content, err := fs.ReadFile(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read memory limit: %w", err)
	}
	limit, err := parseLimit(string(content))
	if err != nil {
		return 0, fmt.Errorf("read /%s: %w", name, err)
	}
	return limit, nil
}

// parseLimit reads "max" or a number of bytes; 0 is none.
func parseLimit(content string) (int64, error) {
	s := strings.TrimSpace(content)
	if s == "max" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a memory limit", clip.Marked(s, maxShown))
	}
	if n >= unlimited {
		return 0, nil
	}
	return int64(n), nil
}

// maxShown bounds what a message shows of a file that holds garbage, in bytes.
const maxShown = 40

// lower is the lower of two limits, of which 0 is none.
func lower(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
