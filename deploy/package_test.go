// SPDX-License-Identifier: MIT OR Apache-2.0

package deploy

import (
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// scripts are all shell scripts that are shipped or run here.
func scripts(t *testing.T) []string {
	t.Helper()
	all := []string{"../.ci/run"}
	for _, pattern := range []string{"package/*.sh", "e2e/*.sh", "../contrib/hooks/*", "../contrib/hooks/*/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			if text, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(text), "#!") {
				all = append(all, path)
			}
		}
	}
	return all
}

func TestScriptsAreClean(t *testing.T) {
	out, err := exec.Command(program(t, "shellcheck"), scripts(t)...).CombinedOutput()
	if err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

// pack builds the packages of one architecture.
func pack(t *testing.T, version string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.Command("package/build.sh", dir, "amd64")
	cmd.Env = append(os.Environ(), "VERSION="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	return dir
}

// needPackager skips where packages cannot be built without the network.
func needPackager(t *testing.T) {
	t.Helper()
	if cmp.Or(os.Getenv("NFPM"), find("nfpm")) == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("CI needs nfpm")
		}
		t.Skip("nfpm is not installed: go install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2")
	}
	program(t, "git")
}

func find(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

func TestPackage(t *testing.T) {
	needPackager(t)
	dpkg := program(t, "dpkg-deb")
	dir := pack(t, "v1.2.3-4-gabcdef0")
	if first, again := readFile(t, dir+"/SHA256SUMS"), readFile(t, pack(t, "v1.2.3-4-gabcdef0")+"/SHA256SUMS"); first != again {
		t.Errorf("the second time other bytes come out:\n%s%s", first, again)
	}
	deb := dir + "/blufio_1.2.3+4.gabcdef0-1_amd64.deb"
	for _, name := range []string{deb, dir + "/blufio-1.2.3+4.gabcdef0-1.x86_64.rpm"} {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
	listed, err := exec.Command(dpkg, "--contents", deb).CombinedOutput()
	if err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, listed)
	}
	for _, want := range []string{
		`-rwxr-xr-x root/root .* \./usr/bin/blufio`,
		`drwxr-x--- root/blufio .* \./etc/blufio/`,
		`-rw-r----- root/blufio .* \./etc/blufio/blufio\.toml`,
		`-rw-r--r-- root/root .* \./usr/lib/systemd/system/blufio\.service`,
		`-rw-r--r-- root/root .* \./usr/lib/systemd/system/blufio@\.service`,
		`-rw-r--r-- root/root .* \./usr/lib/sysusers\.d/blufio\.conf`,
		`-rw-r--r-- root/root .* \./usr/share/man/man1/blufio\.1\.gz`,
		`-rw-r--r-- root/root .* \./usr/share/bash-completion/completions/blufio`,
		`-rw-r--r-- root/root .* \./etc/logrotate\.d/blufio`,
		`-rw-r--r-- root/root .* \./usr/share/doc/blufio/sbom\.cdx\.json`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).Match(listed) {
			t.Errorf("there is no %s in\n%s", want, listed)
		}
	}
	out := t.TempDir()
	if text, err := exec.Command(dpkg, "--raw-extract", deb, out).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, text)
	}
	if got := readFile(t, out+"/DEBIAN/conffiles"); !slices.Equal(strings.Fields(got), []string{"/etc/blufio/blufio.toml", "/etc/logrotate.d/blufio"}) {
		t.Errorf("conffiles are %q", got)
	}
	checkStamp(t, out+"/usr/bin/blufio")
	checkBill(t, readFile(t, out+"/usr/share/doc/blufio/sbom.cdx.json"))
}

func checkStamp(t *testing.T, program string) {
	t.Helper()
	text, err := exec.Command(program, "version", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	commit, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Version, Commit string }
	if err := json.Unmarshal(text, &got); err != nil || got.Version != "v1.2.3-4-gabcdef0" || got.Commit != strings.TrimSpace(string(commit)) {
		t.Errorf("the program says %s (%v), of commit %s", text, err, commit)
	}
}

// checkBill looks for what go.mod requires in the list of what is inside.
func checkBill(t *testing.T, text string) {
	t.Helper()
	var bill struct {
		BomFormat  string
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal([]byte(text), &bill); err != nil || bill.BomFormat != "CycloneDX" {
		t.Fatalf("the SBOM: %v\n%s", err, text)
	}
	has := map[string]string{}
	for _, c := range bill.Components {
		has[c.Name] = c.Version
	}
	for _, name := range []string{"std", "modernc.org/sqlite", "github.com/nats-io/nats-server/v2"} {
		if has[name] == "" {
			t.Errorf("the SBOM lacks %s", name)
		}
	}
}
