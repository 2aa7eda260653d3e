// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// In need, a machine without blufio can take an archive apart.
func TestStockTools(t *testing.T) {
	for _, tool := range []string{"zstd", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("%s is not installed: that stock tools read an archive is not shown", tool)
		}
	}
	p := small(t)
	dir := filepath.Join(t.TempDir(), "new")
	cmd := exec.Command("sh", "-c", `umask 077; mkdir "$1"; zstd -dc "$0" | tar -x -f - -C "$1"`, store(t, p.write(t)), dir)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%s, %v", out, err)
	}
	manifest, err := exec.Command("cat", dir+"/"+ManifestName).Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseManifest(manifest); err != nil {
		t.Error(err)
	}
	p.files[ManifestName] = manifest
	wantFiles(t, dir, p)
}

// stockSize is what Go's own tar reader takes from a header.
func stockSize(t *testing.T, header []byte) int64 {
	t.Helper()
	h, err := tar.NewReader(bytes.NewReader(header)).Next()
	if err != nil {
		t.Fatal(err)
	}
	return h.Size
}
