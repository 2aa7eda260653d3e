// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"os"
	"path/filepath"
	"strings"
)

// Within reports whether path is dir or lies in it, by its name or by whatever links lead
// there. Neither has to exist yet.
func Within(path, dir string) bool {
	if rel, err := filepath.Rel(dir, path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return true
	}
	outer, err := os.Stat(dir)
	if err != nil {
		return false
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return false
	}
	for {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		if info, err := os.Stat(path); err == nil && os.SameFile(info, outer) {
			return true
		}
		up := filepath.Dir(path)
		if up == path {
			return false
		}
		path = up
	}
}
