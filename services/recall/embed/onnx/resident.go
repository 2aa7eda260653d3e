// SPDX-License-Identifier: MIT OR Apache-2.0

package onnx

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"
)

// resident is how much of the mapping lies in memory for this process: what Linux says of it
// in smaps. Elsewhere it is all of it.
func (f *mapping) resident() int64 {
	if len(f.data) == 0 {
		return 0
	}
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		return int64(len(f.data))
	}
	defer file.Close()
	from := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(f.data))))
	return residentIn(bufio.NewScanner(file), from, from+uint64(len(f.data)))
}

// residentIn sums up the areas of memory between two addresses. The kernel may have split a mapping.
func residentIn(lines *bufio.Scanner, from, to uint64) int64 {
	var sum int64
	var within bool
	for lines.Scan() {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, "Rss:"); ok {
			if kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64); within && err == nil {
				sum += kb << 10
			}
			continue
		}
		var lo, hi uint64
		if n, _ := fmt.Sscanf(line, "%x-%x", &lo, &hi); n == 2 {
			within = lo < to && hi > from
		}
	}
	return sum
}
