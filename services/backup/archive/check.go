// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxName = 1024 // bytes of a file's name
	maxPart = 255  // of what stands between slashes, and of every other text
	maxSize = 1 << 50
	maxKey  = 4 << 10 // device.pub, device.nk
)

// Check says what is wrong with a manifest, in one line. Files must be in this order:
// blufio.db, device.pub, config/NN-NAME.toml, device.nk, workspace/…, each group sorted by name;
// the first two must be there.
func (m *Manifest) Check() error {
	if m.Format != Format {
		return fmt.Errorf("format %d is not known", m.Format)
	}
	if t := m.Created.Unix(); t < 0 || t >= 1<<33 || m.Created.Nanosecond() != 0 {
		return fmt.Errorf("time %s cannot be", m.Created)
	}
	if err := m.checkTexts(); err != nil {
		return err
	}
	return m.checkFiles()
}

func (m *Manifest) checkTexts() error {
	texts := []string{m.Version, m.Node, m.Device, m.Cut.Epoch}
	texts = append(texts, m.Stripped...)
	for room, version := range m.Schema {
		if version < 0 {
			return fmt.Errorf("schema of %q has version %d", room, version)
		}
		texts = append(texts, room)
	}
	for table, n := range m.Rows {
		if n < 0 {
			return fmt.Errorf("table %q has %d rows", table, n)
		}
		texts = append(texts, table)
	}
	for _, text := range texts {
		if len(text) > maxPart || !plain(text) {
			return fmt.Errorf("text %.40q is too long or does not print", text)
		}
	}
	if !slices.Contains([]string{"", "file", "passphrase", "credential"}, m.Vault.Source) {
		return fmt.Errorf("vault source %.40q is not known", m.Vault.Source)
	}
	if min(m.Vault.Secrets, m.LeftOut.Links, m.LeftOut.Special, m.LeftOut.Names) < 0 {
		return errors.New("a count is negative")
	}
	return nil
}

func (m *Manifest) checkFiles() error {
	var total int64
	dirs := make(map[string]bool)
	for i, f := range m.Files {
		if err := f.check(); err != nil {
			return err
		}
		if i > 0 && byOrder(m.Files[i-1], f) >= 0 {
			return fmt.Errorf("file %q is there twice or out of order", f.Name)
		}
		if total += f.Size; total > maxSize {
			return errors.New("the files are too large together")
		}
		for d := path.Dir(f.Name); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	for _, f := range m.Files {
		if dirs[f.Name] {
			return fmt.Errorf("%q is a file and a directory", f.Name)
		}
	}
	for i, name := range []string{DatabaseName, DevicePubName} {
		if len(m.Files) <= i || m.Files[i].Name != name {
			return fmt.Errorf("file %s is missing", name)
		}
	}
	return nil
}

func (f File) check() error {
	if err := ValidName(f.Name); err != nil {
		return err
	}
	if rank(f.Name) == unknownRank {
		return fmt.Errorf("file %q has no place in a backup", f.Name)
	}
	if f.Size < 0 || f.Size > maxSize || f.Size > maxKey && (f.Name == DevicePubName || f.Name == DeviceKeyName) {
		return fmt.Errorf("file %q has a size that cannot be: %d", f.Name, f.Size)
	}
	if f.Mode > 0o777 {
		return fmt.Errorf("file %q has a mode that is not permitted: %#o", f.Name, f.Mode)
	}
	if len(f.SHA256) != 64 || strings.Trim(f.SHA256, "0123456789abcdef") != "" {
		return fmt.Errorf("file %q has no SHA-256", f.Name)
	}
	return nil
}

const unknownRank = math.MaxInt

// rank is a file's group in the order of an archive.
func rank(name string) int {
	switch rest, inConfig := strings.CutPrefix(name, ConfigDir); {
	case name == DatabaseName:
		return 0
	case name == DevicePubName:
		return 1
	case inConfig && configName(rest):
		return 2
	case name == DeviceKeyName:
		return 3
	case strings.HasPrefix(name, WorkspaceDir):
		return 4
	}
	return unknownRank
}

// configName reports whether base is NN-NAME.toml.
func configName(base string) bool {
	digit := func(b byte) bool { return '0' <= b && b <= '9' }
	return len(base) > len("00-.toml") && digit(base[0]) && digit(base[1]) && base[2] == '-' &&
		strings.HasSuffix(base, ".toml") && !strings.Contains(base, "/")
}

func byOrder(a, b File) int {
	return cmp.Or(cmp.Compare(rank(a.Name), rank(b.Name)), strings.Compare(a.Name, b.Name))
}

// ValidName says why a file of that name cannot be in an archive: it leads out of it, has characters that
// do not print, or is no UTF-8. Names of the workspace that it refuses are left out and counted.
func ValidName(name string) error {
	if !fs.ValidPath(name) || name == "." || !plain(name) {
		return fmt.Errorf("name %.80q is not permitted", name)
	}
	if len(name) > maxName {
		return fmt.Errorf("name %.80q is too long", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxPart {
			return fmt.Errorf("name %.80q is too long", name)
		}
	}
	return nil
}

// plain reports whether s may be shown on a terminal.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
