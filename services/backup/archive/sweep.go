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

// Sweep removes from dir what killed processes have left of backups of that node. Those that
// are being written are locked, and stay.
func Sweep(dir, node string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for what was left: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name, unfinished := strings.CutSuffix(e.Name(), partialSuffix)
		of, _, ok := ParseName(name)
		if !unfinished || !ok || of != NodeName(node) || !e.Type().IsRegular() {
			continue
		}
		if err := removeLeft(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, errWriting) {
			errs = append(errs, fmt.Errorf("remove what was left: %w", err))
		}
	}
	return errors.Join(errs...)
}
