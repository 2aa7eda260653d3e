// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"bytes"
	"fmt"
	"math"

	"github.com/blufio/blufio/services/internal/clip"
)

// The kernel's files are read every second, so what reads them allocates nothing:
// no fields, no strings, except for an error.

// most is the largest number of bytes taken for one: a hundred times as much is
// still a number.
const most = math.MaxInt64 / 100

// parseStatm takes the resident set, in bytes, from the content of statm: sizes
// in pages, of which the second is the resident one.
func parseStatm(content []byte, pageSize int64) (int64, error) {
	_, rest, ok := number(content)
	pages, _, also := number(rest)
	if !ok || !also || pages <= 0 || pages > most/pageSize {
		return 0, fmt.Errorf("read /%s: %q is not in pages", statmFile, clip.Marked(string(content), maxShown))
	}
	return pages * pageSize, nil
}

// number reads the decimal number that b begins with, behind blanks, and returns
// what follows. It must end where a word does.
func number(b []byte) (n int64, rest []byte, ok bool) {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if n > (math.MaxInt64-9)/10 {
			return 0, nil, false
		}
		n = n*10 + int64(b[i]-'0')
	}
	if i == 0 || i < len(b) && b[i] != ' ' && b[i] != '\t' && b[i] != '\n' {
		return 0, nil, false
	}
	return n, b[i:], true
}

// field is the number behind key, at the beginning of a line: "anon 4096" has the
// key "anon", "RssAnon:  112 kB" the key "RssAnon:".
func field(content []byte, key string) (int64, bool) {
	for len(content) > 0 {
		line := content
		if i := bytes.IndexByte(content, '\n'); i >= 0 {
			line, content = content[:i], content[i+1:]
		} else {
			content = nil
		}
		if len(line) > len(key) && string(line[:len(key)]) == key && (line[len(key)] == ' ' || line[len(key)] == '\t') {
			n, _, ok := number(line[len(key):])
			return n, ok && n <= most
		}
	}
	return 0, false
}

// sized is the field of a line like "RssAnon:  112 kB", in bytes; 0 where there is none.
func sized(content []byte, key string) (int64, bool) {
	kib, ok := field(content, key)
	if !ok || kib > most>>10 {
		return 0, false
	}
	return kib << 10, true
}

// parseAnonymous takes from the content of status what of the resident set is
// backed by no file.
func parseAnonymous(content []byte) (int64, bool) { return sized(content, "RssAnon:") }

// parseGroup2 takes from the content of memory.stat of version 2 what the kernel cannot
// get back by writing it to a file or by forgetting it: anonymous memory, files that
// lie in memory alone (tmpfs), its sockets' buffers, and its own memory but for caches of
// names and inodes. Kernels before 5.18 have no sum of their own parts; sockets are in
// none (https://docs.kernel.org/admin-guide/cgroup-v2.html, memory.stat).
func parseGroup2(content []byte) (int64, bool) {
	sum, ok := field(content, "anon")
	if !ok {
		return 0, false
	}
	add := func(part string) bool {
		n, ok := field(content, part)
		sum += n
		return ok
	}
	add("shmem")
	add("sock")
	if add("kernel") {
		names, _ := field(content, "slab_reclaimable")
		sum -= names
		return sum, sum >= 0 && sum <= most
	}
	for _, part := range [...]string{"kernel_stack", "pagetables", "percpu", "slab_unreclaimable"} {
		add(part)
	}
	return sum, sum <= most
}

// parseGroup1 takes anonymous memory, and files that lie in memory alone, from the
// content of memory.stat of version 1, of the group and all below it.
func parseGroup1(content []byte) (int64, bool) {
	for _, below := range [...]string{"total_", ""} {
		if n, ok := field(content, below+"rss"); ok {
			shared, _ := field(content, below+"shmem")
			return n + shared, n+shared <= most
		}
	}
	return 0, false
}

// stall is how much of the last ten seconds, in percent, at least one task (some)
// or all at once (full) waited for memory.
type stall struct{ some, full float64 }

// parseStall reads the content of a pressure file.
func parseStall(content []byte) (s stall, ok bool) {
	some, ok1 := average(content, "some avg10=")
	full, ok2 := average(content, "full avg10=")
	return stall{some, full}, ok1 && ok2
}

// average is the decimal number behind key at the beginning of a line.
func average(content []byte, key string) (float64, bool) {
	for len(content) > 0 {
		if len(content) > len(key) && string(content[:len(key)]) == key {
			return decimal(content[len(key):])
		}
		i := bytes.IndexByte(content, '\n')
		if i < 0 {
			break
		}
		content = content[i+1:]
	}
	return 0, false
}

// decimal reads a percentage as the kernel writes it, "12.34".
func decimal(b []byte) (float64, bool) {
	n, scale, digits := 0.0, 0.0, 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9' && digits < 9:
			n = n*10 + float64(c-'0')
			scale *= 10
			digits++
			continue
		case c == '.' && scale == 0:
			scale = 1
			continue
		case c != ' ' && c != '\n':
			return 0, false
		}
		break
	}
	if digits == 0 {
		return 0, false
	}
	if scale > 1 {
		n /= scale
	}
	return n, n <= 100
}
