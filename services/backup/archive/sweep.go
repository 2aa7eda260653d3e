// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// partialSuffix ends the name of a file that is not whole yet; see [Pending.Partial].
const partialSuffix = ".partial"

// Sweep removes from dir what killed processes have left of backups that are ours: it is asked
// with the node's name in a file's own (see [NodeName]), and the file's path. Those that are
// being written are locked, and stay.
func Sweep(dir string, ours func(node, path string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for what was left: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name, unfinished := strings.CutSuffix(e.Name(), partialSuffix)
		node, _, ok := ParseName(name)
		path := filepath.Join(dir, e.Name())
		if !unfinished || !ok || !e.Type().IsRegular() || !ours(node, path) {
			continue
		}
		if err := removeLeft(path); err != nil && !errors.Is(err, errWriting) {
			errs = append(errs, fmt.Errorf("remove what was left: %w", err))
		}
	}
	return errors.Join(errs...)
}
