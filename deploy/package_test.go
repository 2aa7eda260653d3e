// SPDX-License-Identifier: MIT OR Apache-2.0

package deploy

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
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

const release = "v1.2.3-4-gabcdef0"

// pack builds the packages of both architectures, in a checkout.
func pack(t *testing.T, checkout string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.Command("sh", "-c", `umask "$1" && exec "$2" "$3" amd64 arm64`, "sh", map[bool]string{true: "022", false: "077"}[checkout == ".."],
		filepath.Join(checkout, "deploy/package/build.sh"), dir)
	cmd.Env = append(os.Environ(), "VERSION="+release)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	return dir
}

// elsewhere is a copy of this checkout, as it might lie on another machine: in another
// directory, with files that are younger and nobody else's to read.
func elsewhere(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "a copy")
	for _, args := range [][]string{{"cp", "-r", "..", dir}, {"chmod", "-R", "go-rwx", dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
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

// contents are what a .deb holds: modes, owners and names.
func contents(t *testing.T, deb string) string {
	t.Helper()
	out, err := exec.Command(program(t, "dpkg-deb"), "--contents", deb).CombinedOutput()
	if err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	return string(out)
}

func unpack(t *testing.T, deb string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if text, err := exec.Command(program(t, "dpkg-deb"), "--raw-extract", deb, dir).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, text)
	}
	return dir
}

func TestPackage(t *testing.T) {
	needPackager(t)
	dir := pack(t, "..")
	if first, again := readFile(t, dir+"/SHA256SUMS"), readFile(t, pack(t, elsewhere(t))+"/SHA256SUMS"); first != again {
		t.Errorf("elsewhere other bytes come out:\n%s%s", first, again)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) { checkPackage(t, dir, arch) })
	}
}

func checkPackage(t *testing.T, dir, arch string) {
	deb := dir + "/blufio_1.2.3+4.gabcdef0-1_" + arch + ".deb"
	rpm := dir + "/blufio-1.2.3+4.gabcdef0-1." + map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch] + ".rpm"
	if _, err := os.Stat(rpm); err != nil {
		t.Error(err)
	}
	listed := contents(t, deb)
	for _, want := range []string{
		`-rwxr-xr-x root/root .* \./usr/bin/blufio`,
		`drwxr-x--- root/blufio .* \./etc/blufio/`,
		`-rw-r----- root/blufio .* \./etc/blufio/blufio\.toml`,
		`-rw-r--r-- root/root .* \./usr/lib/systemd/system/blufio\.service`,
		`-rw-r--r-- root/root .* \./usr/lib/systemd/system/blufio@\.service`,
		`-rw-r--r-- root/root .* \./usr/lib/sysusers\.d/blufio\.conf`,
		`-rw-r--r-- root/root .* \./usr/share/man/man1/blufio\.1\.gz`,
		`-rw-r--r-- root/root .* \./usr/share/bash-completion/completions/blufio`,
		`-rw-r--r-- root/root .* \./usr/share/fish/vendor_completions\.d/blufio\.fish`,
		`-rw-r--r-- root/root .* \./usr/share/zsh/vendor-completions/_blufio`,
		`-rwxr-xr-x root/root .* \./usr/share/blufio/hooks/require-mount`,
		`-rw-r--r-- root/root .* \./etc/logrotate\.d/blufio`,
		`-rw-r--r-- root/root .* \./usr/share/doc/blufio/sbom\.cdx\.json`,
		`-rw-r--r-- root/root .* \./usr/share/doc/blufio/copyright`,
		`-rw-r--r-- root/root .* \./usr/share/doc/blufio/LICENSE-MIT`,
		`-rw-r--r-- root/root .* \./usr/share/doc/blufio/LICENSE-APACHE`,
		`-rw-r--r-- root/root .* \./usr/share/doc/blufio/examples/blufio\.toml`,
		`-rw-r--r-- root/root .* \./usr/share/doc/blufio/runbooks/out-of-disk\.md`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).MatchString(listed) {
			t.Errorf("there is no %s in\n%s", want, listed)
		}
	}
	if odd := regexp.MustCompile(`(?m)^(?:-rw-------|.* \S*_test\.go|.* \S+\.go)$`).FindAllString(listed, -1); len(odd) > 0 {
		t.Errorf("what is of no use to anybody: %q", odd)
	}
	out := unpack(t, deb)
	if got := readFile(t, out+"/DEBIAN/conffiles"); !slices.Equal(strings.Fields(got), []string{"/etc/blufio/blufio.toml", "/etc/logrotate.d/blufio"}) {
		t.Errorf("conffiles are %q", got)
	}
	if arch == runtime.GOARCH {
		checkStamp(t, out+"/usr/bin/blufio")
	}
	checkBill(t, out+"/usr/bin/blufio", readFile(t, out+"/usr/share/doc/blufio/sbom.cdx.json"))
	checkLinks(t, out+"/usr/share/doc/blufio/runbooks")
	checkSettings(t, out+"/etc/blufio/blufio.toml", readFile(t, out+"/usr/share/doc/blufio/examples/blufio.toml"))
}

var link = regexp.MustCompile(`\]\(([^)#:]+)\)`)

// checkLinks follows the links of pages to the files that are installed beside them.
func checkLinks(t *testing.T, dir string) {
	t.Helper()
	pages, err := filepath.Glob(dir + "/*.md")
	if err != nil || len(pages) < 9 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(readFile(t, page), -1) {
			if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
				t.Errorf("%s: %v", filepath.Base(page), err)
			}
		}
	}
}

var table = regexp.MustCompile(`(?m)^\[[a-z.]+\]$`)

// checkSettings writes every table of the example below the configuration that is installed.
func checkSettings(t *testing.T, path, example string) {
	t.Helper()
	tables := table.FindAllString(example, -1)
	write(t, path, readFile(t, path)+strings.Join(tables, "\n"))
	if _, _, err := serve.Load(config.Sources{Files: []string{path}, Required: true}); err != nil || len(tables) < 15 {
		t.Errorf("with %d tables added: %v", len(tables), err)
	}
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
	if err := json.Unmarshal(text, &got); err != nil || got.Version != release || got.Commit != strings.TrimSpace(string(commit)) {
		t.Errorf("the program says %s (%v), of commit %s", text, err, commit)
	}
}

// checkBill holds the list of what is inside against what the linker has put inside.
func checkBill(t *testing.T, program, text string) {
	t.Helper()
	var bill struct {
		BomFormat  string
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal([]byte(text), &bill); err != nil || bill.BomFormat != "CycloneDX" {
		t.Fatalf("the SBOM: %v\n%s", err, text)
	}
	listed := map[string]string{}
	for _, c := range bill.Components {
		listed[c.Name] = c.Version
	}
	out, err := exec.Command("go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]string{"std": regexp.MustCompile(`: go(\S+)`).FindStringSubmatch(string(out))[1]}
	for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(string(out), -1) {
		linked[m[1]] = m[2]
	}
	if !maps.Equal(listed, linked) || len(linked) < 20 {
		t.Errorf("listed are\n%v\nlinked are\n%v", listed, linked)
	}
}
