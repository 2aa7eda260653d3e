// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/backup/archive"
)

// What daemons have handed out in each released format is restored by this one, which goes on
// with it: what was said is remembered, the agent's files are there, the vault opens, and a
// drill says so too. See testdata/archives/README.md.
func TestReleasedArchivesRestore(t *testing.T) {
	t.Parallel()
	binary := build(t, shipped)
	for format := 1; format <= archive.Format; format++ {
		for _, suffix := range []string{".tar.zst", ".tar.zst.age"} {
			name := fmt.Sprintf("v%d%s", format, suffix)
			t.Run(name, func(t *testing.T) {
				path, err := filepath.Abs(filepath.Join("testdata", "archives", name))
				if err != nil {
					t.Fatal(err)
				}
				restoreReleased(t, binary, path, fmt.Sprintf(`"format": %d`, format))
			})
		}
	}
}

func restoreReleased(t *testing.T, binary, path, format string) {
	p := plan{dir: t.TempDir()}
	key := filepath.Join(p.dir, "passphrase")
	if err := os.WriteFile(p.config(), []byte(settings+forGood), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte(strings.TrimPrefix(passphrase, "BLUFIO_VAULT_KEY=")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var open []string
	if strings.HasSuffix(path, ".age") {
		open = []string{"--identity", filepath.Join(filepath.Dir(path), "identity.txt")}
	}
	p.run(t, binary, nil, append([]string{"backup", "verify", path}, open...)...).want(t, 0, "")
	said := func(want string, args ...string) {
		t.Helper()
		got := p.run(t, binary, []string{passphrase}, args...)
		got.want(t, 0, "")
		if !strings.Contains(string(got.out), want) {
			t.Errorf("%v says\n%s%s, want %s", args, got.out, got.err, want)
		}
	}
	said(format, append([]string{"backup", "inspect", path, "--json"}, open...)...)
	said("its secrets can be read, all 1", append([]string{"backup", "drill", path, "--vault-key", key}, open...)...)
	said("1, all of them readable", append([]string{"restore", path}, open...)...)
	d := start(t, p, binary, passphrase)
	d.awaitHealthy(t)
	said("4711", "send", "recall boiler")
	said("fixture.secret", "config", "list-secrets")
	d.stop(t)
	note, err := os.ReadFile(filepath.Join(p.data(), "workspace", "notes", "boiler.txt"))
	if err != nil || string(note) != "the boiler is in the cellar\n" {
		t.Errorf("the agent's file says %q, %v", note, err)
	}
	for _, line := range p.complaints(true) {
		t.Errorf("the log complains: %s", line)
	}
}
