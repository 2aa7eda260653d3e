// SPDX-License-Identifier: MIT OR Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/contrib"
	"github.com/blufio/blufio/services"
)

// unitDirs are where systemd's own instance looks for units, what comes first wins
// (systemd.unit(5)).
var unitDirs = [...]string{"etc/systemd/system.control", "run/systemd/system.control", "run/systemd/transient", "run/systemd/generator.early",
	"etc/systemd/system", "etc/systemd/system.attached", "run/systemd/system", "run/systemd/system.attached", "run/systemd/generator",
	"usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system", "run/systemd/generator.late"}

// The shipped units keep their data in stateDir, or in stateDir-NAME.
const (
	ownUnit  = "blufio.service"
	stateDir = "/var/lib/blufio"
)

// units compares the unit in force with the shipped one, as systemd reads both.
type units struct {
	root    fs.FS // the machine's
	shipped fs.FS
	pending func(ctx context.Context, unit string) bool // systemd has not read a change yet
	running bool                                        // this process is the daemon: its control group names the unit
	dataDir string                                      // names it otherwise
}

func machineUnits(running bool, dataDir string) units {
	return units{root: os.DirFS("/"), shipped: contrib.Units, pending: reloadPending, running: running, dataDir: dataDir}
}

// reloadPending asks systemd, if it is there and answers.
func reloadPending(ctx context.Context, unit string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", "--property=NeedDaemonReload", "--", unit).Output()
	return err == nil && strings.TrimSpace(string(out)) == "NeedDaemonReload=yes"
}

func (u units) probe(ctx context.Context) services.Result {
	unit := u.unit()
	switch shipped, err := fs.ReadFile(u.shipped, template(unit)); {
	case unit == "":
		return services.Skip("no shipped unit starts a daemon here")
	case errors.Is(err, fs.ErrNotExist) && (template(unit) == ownUnit || template(unit) == "blufio@.service"):
		return services.Skip("this version ships no unit")
	case err != nil:
		return services.Skip("it runs in %s, which is none of the shipped units", unit)
	default:
		return u.compare(ctx, unit, string(shipped))
	}
}

func (u units) compare(ctx context.Context, unit, shipped string) services.Result {
	file, content, err := u.find(unit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return services.Skip("%s is not installed here", unit)
	case err != nil:
		return services.Skip("%s cannot be read: %v", file, err)
	}
	drops := u.dropIns(unit)
	beside := ""
	if len(drops) > 0 {
		beside = "; beside it: " + strings.Join(drops, ", ")
	}
	name := strings.TrimSuffix(unit, ".service")
	switch differs := differences(shipped, content); {
	case len(differs) > 0:
		return services.Warn("%s: %s%s", file, listed(differs), beside).
			WithFix("put the shipped one in its place and what you want to be different into a drop-in (`systemctl edit %s`), then `systemctl daemon-reload` and `systemctl restart %s`", name, name)
	case u.running && u.pending(ctx, unit):
		return services.Warn("%s or a drop-in was changed, and systemd has not read that yet%s", file, beside).WithFix("`systemctl daemon-reload`, then `systemctl restart %s`", name)
	case len(drops) > 0:
		return services.Info("%s is the shipped one%s", file, beside).WithFix("nothing, if you put them there; `systemctl cat %s` shows them", name)
	}
	return services.OK("%s", file)
}

// unit is the one that has started the daemon, or would; "" is none.
func (u units) unit() string {
	name, instance := strings.CutPrefix(u.dataDir, stateDir+"-")
	switch {
	case u.running:
		return u.startedBy()
	case u.dataDir == stateDir:
		return ownUnit
	case instance && name != "" && !strings.Contains(name, "/"):
		return "blufio@" + name + ".service"
	}
	return ""
}

// startedBy is the unit that this process runs in, "" outside of one. What a user's own
// systemd or a session started is none.
func (u units) startedBy() string {
	content, err := fs.ReadFile(u.root, "proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) { // ID:CONTROLLERS:PATH, cgroups(7)
		number, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		if controllers != "name=systemd" && (number != "0" || controllers != "") || strings.HasPrefix(group, "/user.slice/") {
			continue
		}
		for _, part := range slices.Backward(strings.Split(group, "/")) { // a unit may have groups of its own
			if strings.HasSuffix(part, ".service") {
				return part
			}
		}
	}
	return ""
}

// template is the unit that an instance such as blufio@home.service is made from, or the
// unit itself.
func template(unit string) string {
	if name, _, instance := strings.Cut(unit, "@"); instance {
		return name + "@.service"
	}
	return unit
}

// find reads the file that systemd takes for a unit.
func (u units) find(unit string) (file, content string, err error) {
	for _, name := range slices.Compact([]string{unit, template(unit)}) {
		for _, dir := range unitDirs {
			data, err := fs.ReadFile(u.root, path.Join(dir, name))
			if !errors.Is(err, fs.ErrNotExist) {
				return "/" + path.Join(dir, name), string(data), err
			}
		}
	}
	return "", "", fs.ErrNotExist
}

// dropIns are the files that systemd adds to a unit, in its order: by name, and of one
// name the first directory's.
func (u units) dropIns(unit string) (files []string) {
	seen := map[string]string{}
	for _, dir := range unitDirs {
		for _, name := range slices.Compact([]string{unit, template(unit)}) {
			below := path.Join(dir, name+".d")
			entries, _ := fs.ReadDir(u.root, below) // most are not there
			for _, e := range entries {
				if _, hidden := seen[e.Name()]; !hidden && strings.HasSuffix(e.Name(), ".conf") {
					seen[e.Name()] = "/" + path.Join(below, e.Name())
				}
			}
		}
	}
	for _, name := range sorted(seen) {
		files = append(files, seen[name])
	}
	return files
}

func sorted(m map[string]string) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// program is the path of ours in a command: where it is installed is its owner's.
var program = regexp.MustCompile(`^([-@:+!|]*)/\S*/(blufio)(\s|$)`)

// settings are what systemd reads of a unit: its lines with their sections, without
// comments, and those that go on as one.
func settings(unit string) (all []string) {
	section, begun := "", ""
	for line := range strings.Lines(unit) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue // also within a setting that goes on
		}
		if rest, more := strings.CutSuffix(line, `\`); more {
			begun += rest + " "
			continue
		}
		line, begun = begun+line, ""
		switch key, value, is := strings.Cut(line, "="); {
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = line
		case is:
			value = program.ReplaceAllString(strings.Join(strings.Fields(value), " "), "$1$2$3")
			all = append(all, section+" "+strings.TrimSpace(key)+"="+value)
		}
	}
	return all
}

// differences name the lines that only one of two units has.
func differences(shipped, other string) (all []string) {
	ours, theirs := settings(shipped), settings(other)
	for _, line := range without(ours, theirs) {
		all = append(all, "without "+line)
	}
	for _, line := range without(theirs, ours) {
		all = append(all, "with "+line)
	}
	return all
}

// without are the elements of a that b has not, as often as it has not.
func without(a, b []string) (rest []string) {
	b = slices.Clone(b)
	for _, line := range a {
		if i := slices.Index(b, line); i >= 0 {
			b = slices.Delete(b, i, i+1)
			continue
		}
		rest = append(rest, line)
	}
	return rest
}

const shownLines = 6

func listed(lines []string) string {
	if n := len(lines) - shownLines; n > 0 {
		return strings.Join(lines[:shownLines], "; ") + fmt.Sprintf("; and %d more", n)
	}
	return strings.Join(lines, "; ")
}
