// SPDX-License-Identifier: MIT OR Apache-2.0

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/services/governor"
	"github.com/blufio/blufio/services/serve"
)

// mostExposed is the bar for `systemd-analyze security`, in tenths.
const mostExposed = "13"

const contrib = "../contrib/"

// unitFile is the unit as it is installed, with a program that is there.
func unitFile(t *testing.T, name string, dropIns ...string) (unit string) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, name), strings.ReplaceAll(readFile(t, contrib+name), "/usr/bin/blufio", "/bin/true"))
	for _, d := range dropIns {
		write(t, filepath.Join(dir, name+".d", d), readFile(t, contrib+"blufio.service.d/"+d))
	}
	return filepath.Join(dir, name)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// units are all that are shipped, with their drop-ins.
var units = map[string][]string{
	"blufio.service":        nil,
	"blufio@.service":       nil,
	"blufio.service notify": {"notify.conf"},
	"blufio.service all":    {"notify.conf", "credential.conf"},
}

func TestUnitsAreValid(t *testing.T) {
	analyze := program(t, "systemd-analyze")
	for title, dropIns := range units {
		t.Run(title, func(t *testing.T) {
			name, _, _ := strings.Cut(title, " ")
			unit := unitFile(t, name, dropIns...)
			check := unit
			if strings.Contains(name, "@") { // an instance of the template
				check = strings.Replace(unit, "@.", "@one.", 1)
				write(t, check, readFile(t, unit))
			}
			out, err := exec.Command(analyze, "verify", "--recursive-errors=no", check).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
			out, err = exec.Command(analyze, "security", "--offline=true", "--threshold="+mostExposed, unit).CombinedOutput()
			if err != nil {
				t.Errorf("systemd-analyze security, more than %s tenths: %v\n%s", mostExposed, err, out)
			}
		})
	}
}

// settings are the keys of a unit, each with its values in order.
func settings(text string) map[string][]string {
	all := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Za-z]+)=(.*)$`).FindAllStringSubmatch(text, -1) {
		all[m[1]] = append(all[m[1]], m[2])
	}
	return all
}

// What the unit says in numbers follows from what the program does by default.
func TestUnitFitsTheProgram(t *testing.T) {
	defaults := serve.Defaults()
	for _, name := range []string{"blufio.service", "blufio@.service"} {
		has := settings(readFile(t, contrib+name))
		want := func(key string, values ...string) {
			if !slices.Equal(has[key], values) {
				t.Errorf("%s: %s=%q, want %q", name, key, has[key], values)
			}
		}
		if governor.Defaults().LimitMB != 200 {
			t.Fatal("memory.limit_mb has another default: change MemoryHigh and MemoryMax too, and this test")
		}
		want("MemoryHigh", "200M")
		want("MemoryMax", "256M")
		want("RestartPreventExitStatus", "64 65 77 78")
		want("Restart", "on-failure")
		want("Type", "simple")
		want("NotifyAccess", "main")
		want("TimeoutStopSec", "20")
		if stop := defaults.Daemon.DrainTimeout + 5*time.Second; stop >= 20*time.Second { // the bus's own end is bounded by 5 s
			t.Errorf("a stop may take %s, but the unit gives 20 s", stop)
		}
		if codes := []int{serve.ExitNewer, serve.ExitKey, serve.ExitConfig}; !slices.Equal(codes, []int{65, 77, 78}) {
			t.Errorf("exit codes are %v", codes)
		}
	}
}

// The template is the unit, but for what makes it one of several.
func TestTemplateFollowsTheUnit(t *testing.T) {
	one, many := settings(readFile(t, contrib+"blufio.service")), settings(readFile(t, contrib+"blufio@.service"))
	own := []string{"Description", "ExecStart", "StateDirectory", "RuntimeDirectory", "WorkingDirectory", "TemporaryFileSystem", "BindPaths"}
	for key := range many {
		if !slices.Contains(own, key) && !slices.Equal(one[key], many[key]) {
			t.Errorf("%s: the unit has %q, the template %q", key, one[key], many[key])
		}
	}
	for key := range one {
		if many[key] == nil {
			t.Errorf("the template lacks %s", key)
		}
	}
}
