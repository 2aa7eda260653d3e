// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"filippo.io/age"
)

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestThereAndBack(t *testing.T) {
	p := small(t)
	one, other, stranger := identity(t), identity(t), identity(t)
	for _, tt := range []struct {
		name string
		path string
		ids  []Identity
		err  error
	}{
		{"plain", store(t, p.write(t)), nil, nil},
		{"encrypted", store(t, p.write(t, one.Recipient())), []Identity{one}, nil},
		{"for two", store(t, p.write(t, one.Recipient(), other.Recipient())), []Identity{stranger, other}, nil},
		{"without an identity", store(t, p.write(t, one.Recipient())), nil, ErrEncrypted},
		{"with another's", store(t, p.write(t, one.Recipient())), []Identity{stranger}, ErrEncrypted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report, err := Verify(t.Context(), tt.path, Options{Identities: tt.ids})
			if !errors.Is(err, tt.err) {
				t.Fatalf("Verify: %v, want %v", err, tt.err)
			}
			m, err := Inspect(tt.path, tt.ids...)
			if !errors.Is(err, tt.err) {
				t.Fatalf("Inspect: %v, want %v", err, tt.err)
			}
			dir := filepath.Join(t.TempDir(), "new")
			extracted, err := Extract(t.Context(), tt.path, dir, Options{Identities: tt.ids})
			if !errors.Is(err, tt.err) {
				t.Fatalf("Extract: %v, want %v", err, tt.err)
			}
			if tt.err != nil {
				return
			}
			if !reflect.DeepEqual(m, report.Manifest) || !reflect.DeepEqual(m, extracted) {
				t.Error("three readers, three manifests")
			}
			if info, err := os.Stat(tt.path); err != nil || report.Bytes != info.Size() || report.Encrypted != (tt.ids != nil) {
				t.Errorf("report of %d bytes, encrypted %v; %v", report.Bytes, report.Encrypted, err)
			}
			wantFiles(t, dir, p)
			if left, err := os.ReadDir(filepath.Dir(tt.path)); err != nil || len(left) != 1 {
				t.Errorf("beside the archive: %v, %v", left, err)
			}
		})
	}
}

// wantFiles fails unless dir holds exactly the files of p, for their owner alone.
func wantFiles(t *testing.T, dir string, p *parts) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if d.IsDir() {
			return nil
		}
		found++
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if want, there := p.files[name]; !there || string(content) != string(want) {
			t.Errorf("%s is not what was put in", name)
		}
		return err
	})
	if err != nil || found != len(p.files) {
		t.Errorf("%d files of %d, %v", found, len(p.files), err)
	}
}
