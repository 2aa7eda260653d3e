// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"runtime/metrics"
	"strconv"
	"strings"
)

const (
	statmFile   = "proc/self/statm"
	cgroupFile  = "proc/self/cgroup"
	cgroupMount = "sys/fs/cgroup"
)

// unlimited is from where on version 1 means "no limit": it writes the largest
// multiple of the page size instead of a word.
const unlimited = 1 << 62

// parseStatm takes the resident set, in bytes, from the content of statm: sizes
// in pages, of which the second is the resident one.
func parseStatm(content []byte, pageSize int64) (int64, error) {
	fields := bytes.Fields(content)
	if len(fields) < 2 {
		return 0, fmt.Errorf("read /%s: %d fields", statmFile, len(fields))
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil || pages <= 0 || pages > math.MaxInt64/pageSize/100 { // times 100 it still fits
		return 0, fmt.Errorf("read /%s: %q is not a number of pages", statmFile, fields[1])
	}
	return pages * pageSize, nil
}

// cgroupLimit is the lowest limit of the process's control groups in bytes, or 0
// if there is none. With an error it is the lowest of those that could be read.
func cgroupLimit(root fs.FS) (int64, error) {
	content, err := fs.ReadFile(root, cgroupFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read control groups: %w", err)
	}
	var lowest int64
	var errs []error
	for line := range strings.Lines(string(content)) {
		base, group, files, ok := parseCgroup(strings.TrimSuffix(line, "\n"))
		if !ok {
			errs = append(errs, fmt.Errorf("read /%s: %q is not a control group", cgroupFile, line))
			continue
		}
		for _, file := range files {
			limit, err := lowestAbove(root, base, group, file)
			lowest = lower(lowest, limit)
			errs = append(errs, err)
		}
	}
	return lowest, errors.Join(errs...)
}

// parseCgroup reads a line "ID:CONTROLLERS:PATH" and says where its memory limits
// are; files is empty where there are none. Version 2 is number 0 and names no
// controllers.
func parseCgroup(line string) (base, group string, files []string, ok bool) {
	id, rest, ok := strings.Cut(line, ":")
	controllers, group, found := strings.Cut(rest, ":")
	if !ok || !found || !strings.HasPrefix(group, "/") {
		return "", "", nil, false
	}
	switch {
	case id == "0" && controllers == "":
		return cgroupMount, group, []string{"memory.max", "memory.high"}, true
	case strings.Contains(","+controllers+",", ",memory,"):
		return cgroupMount + "/memory", group, []string{"memory.limit_in_bytes"}, true
	}
	return "", "", nil, true
}

// lowestAbove reads file in the group and in each one above it. A group that is
// not there is skipped: in a container the mount begins at the container's own.
func lowestAbove(root fs.FS, base, group, file string) (int64, error) {
	var lowest int64
	var errs []error
	for group = path.Clean(group); ; group = path.Dir(group) {
		name := path.Join(base, group, file)
		switch content, err := fs.ReadFile(root, name); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, fmt.Errorf("read memory limit: %w", err))
		default:
			limit, err := parseLimit(string(content))
			if err != nil {
				errs = append(errs, fmt.Errorf("read /%s: %w", name, err))
			}
			lowest = lower(lowest, limit)
		}
		if group == "/" {
			return lowest, errors.Join(errs...)
		}
	}
}

// parseLimit reads "max" or a number of bytes; 0 is none.
func parseLimit(content string) (int64, error) {
	s := strings.TrimSpace(content)
	if s == "max" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a memory limit", clip(s))
	}
	if n >= unlimited {
		return 0, nil
	}
	return int64(n), nil
}

// clip keeps garbage out of messages.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// lower is the lower of two limits, of which 0 is none.
func lower(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// heapReader returns a function that reads the bytes of objects on the Go heap,
// live and not yet swept, without allocating.
func heapReader() func() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	return func() int64 {
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
}
