// SPDX-License-Identifier: MIT OR Apache-2.0

package doctor

import (
	"context"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/blufio/blufio/bus"
)

const shippedUnit = "# ours\n[Unit]\nDescription=blufio\n\n[Service]\nExecStart=/usr/bin/blufio serve\nMemoryMax=256M\nSystemCallFilter=@system-service\nSystemCallFilter=~@privileged\n"

func TestUnits(t *testing.T) {
	const etc, usr = "etc/systemd/system/", "usr/lib/systemd/system/"
	unit := func(changes ...string) string { return strings.NewReplacer(changes...).Replace(shippedUnit) }
	in := func(group string) string { return "1:name=systemd:" + group + "\n" }
	const ours = "/system.slice/blufio.service"
	for name, c := range map[string]struct {
		group   string
		files   map[string]string
		down    string // no daemon runs: the data directory
		pending bool
		level   string
		seen    string
	}{
		"the shipped one":         {group: in(ours), files: map[string]string{usr + ownUnit: shippedUnit}, level: bus.LevelOK, seen: "/usr/lib/systemd/system/blufio.service"},
		"version 2":               {group: "0::" + ours + "\n", files: map[string]string{usr + ownUnit: shippedUnit}, level: bus.LevelOK},
		"a group below":           {group: "0::" + ours + "/init\n", files: map[string]string{usr + ownUnit: shippedUnit}, level: bus.LevelOK},
		"comments and a path":     {group: in(ours), files: map[string]string{usr + ownUnit: unit("# ours\n", "; mine\n\n", "/usr/bin", "/opt/x")}, level: bus.LevelOK},
		"a line that goes on":     {group: in(ours), files: map[string]string{usr + ownUnit: unit("blufio serve", "blufio \\\n# not this\n  serve")}, level: bus.LevelOK},
		"another value":           {group: in(ours), files: map[string]string{usr + ownUnit: unit("256M", "1G")}, level: bus.LevelWarn, seen: "without [Service] MemoryMax=256M; with [Service] MemoryMax=1G"},
		"another program":         {group: in(ours), files: map[string]string{usr + ownUnit: unit("/usr/bin/blufio serve", "/usr/bin/blufiox serve")}, level: bus.LevelWarn, seen: "blufiox"},
		"a line less":             {group: in(ours), files: map[string]string{usr + ownUnit: unit("SystemCallFilter=~@privileged\n", "")}, level: bus.LevelWarn, seen: "without [Service] SystemCallFilter=~@privileged"},
		"in another section":      {group: in(ours), files: map[string]string{usr + ownUnit: unit("[Service]\n", "")}, level: bus.LevelWarn, seen: "with [Unit] MemoryMax=256M"},
		"a copy that counts more": {group: in(ours), files: map[string]string{usr + ownUnit: shippedUnit, etc + ownUnit: unit("256M", "1G")}, level: bus.LevelWarn, seen: "/etc/systemd/system/blufio.service: "},
		"drop-ins": {group: in(ours), files: map[string]string{usr + ownUnit: shippedUnit, etc + ownUnit + ".d/override.conf": "[Service]\nMemoryMax=1G\n", usr + ownUnit + ".d/override.conf": "", usr + ownUnit + ".d/a.conf": "", usr + ownUnit + ".d/README": ""},
			level: bus.LevelInfo, seen: "shipped one; beside it: /usr/lib/systemd/system/blufio.service.d/a.conf, /etc/systemd/system/blufio.service.d/override.conf"},
		"not read yet":                    {group: in(ours), files: map[string]string{usr + ownUnit: shippedUnit}, pending: true, level: bus.LevelWarn, seen: "has not read"},
		"an instance":                     {group: in("/system.slice/system-blufio.slice/blufio@home.service"), files: map[string]string{usr + "blufio@.service": unit("serve", "serve --config /etc/blufio/%i.toml")}, level: bus.LevelOK},
		"an instance of its own":          {group: in("/system.slice/system-blufio.slice/blufio@home.service"), files: map[string]string{usr + "blufio@.service": "", etc + "blufio@home.service": "[Service]\n"}, level: bus.LevelWarn, seen: "/etc/systemd/system/blufio@home.service"},
		"of an instance":                  {group: in("/system.slice/blufio@home.service"), files: map[string]string{usr + "blufio@.service": unit("serve", "serve --config /etc/blufio/%i.toml"), etc + "blufio@.service.d/x.conf": ""}, level: bus.LevelInfo, seen: "/etc/systemd/system/blufio@.service.d/x.conf"},
		"a shell":                         {group: in("/user.slice/user-0.slice/session-1.scope"), level: bus.LevelSkip, seen: "no shipped unit"},
		"a user's":                        {group: in("/user.slice/user-1000.slice/user@1000.service/app.slice/blufio.service"), level: bus.LevelSkip, seen: "no shipped unit"},
		"a container":                     {group: "0::/\n", level: bus.LevelSkip, seen: "no shipped unit"},
		"another unit":                    {group: in("/system.slice/cron.service"), level: bus.LevelSkip, seen: "cron.service, which is none"},
		"no file":                         {group: in(ours), level: bus.LevelSkip, seen: "not installed"},
		"a directory":                     {group: in(ours), files: map[string]string{usr + ownUnit + "/x": ""}, level: bus.LevelSkip, seen: "cannot be read"},
		"down":                            {down: "/var/lib/blufio", files: map[string]string{usr + ownUnit: unit("256M", "1G")}, level: bus.LevelWarn, seen: "MemoryMax"},
		"down, an instance":               {down: "/var/lib/blufio-home", files: map[string]string{usr + "blufio@.service": unit("256M", "1G")}, level: bus.LevelWarn, seen: "MemoryMax"},
		"down, in a directory of its own": {down: "/home/me/data", files: map[string]string{usr + ownUnit: unit("256M", "1G")}, level: bus.LevelSkip, seen: "no shipped unit"},
		"down, not installed":             {down: "/var/lib/blufio", level: bus.LevelSkip, seen: "not installed"},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{"proc/self/cgroup": {Data: []byte("8:pids:/\n" + c.group)}}
			for name, content := range c.files {
				root[name] = &fstest.MapFile{Data: []byte(content)}
			}
			u := units{root: root, shipped: fstest.MapFS{ownUnit: {Data: []byte(shippedUnit)}, "blufio@.service": {Data: []byte(unit("serve", "serve --config /etc/blufio/%i.toml"))}},
				running: c.down == "", dataDir: c.down, pending: func(context.Context, string) bool { return c.pending }}
			if r := u.probe(t.Context()); r.Level != c.level || !strings.Contains(r.Seen, c.seen) {
				t.Errorf("%+v", r)
			}
		})
	}
	none := units{root: fstest.MapFS{"proc/self/cgroup": {Data: []byte("0::" + ours)}}, shipped: fstest.MapFS{}, running: true}
	if r := none.probe(t.Context()); r.Level != bus.LevelSkip || !strings.Contains(r.Seen, "ships no unit") {
		t.Errorf("%+v", r)
	}
}

// The units of this version are read as they are meant to be.
func TestShippedUnitsAreRead(t *testing.T) {
	for _, name := range []string{ownUnit, "blufio@.service"} {
		data, err := fs.ReadFile(machineUnits(true, "").shipped, name)
		if err != nil {
			t.Skip("this version ships no unit yet")
		}
		all := settings(string(data))
		if len(all) < 20 || len(differences(string(data), string(data))) > 0 {
			t.Errorf("%s: %q", name, all)
		}
	}
}

func FuzzUnitFiles(f *testing.F) {
	f.Add(shippedUnit, shippedUnit)
	f.Add("[Service\\\n]\nA=\\", "=\n[]\nx= a  b\\\n#\n;\ny")
	f.Fuzz(func(t *testing.T, a, b string) {
		if d := differences(a, a); len(d) > 0 {
			t.Errorf("%q differs from itself: %q", a, d)
		}
		if len(differences(a, b)) != len(differences(b, a)) {
			t.Errorf("%q, %q", a, b)
		}
	})
}
