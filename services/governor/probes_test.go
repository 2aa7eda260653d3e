// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

func wants(t *testing.T, r services.Result, level, seen string) {
	t.Helper()
	if r.Level != level || !strings.Contains(r.Seen, seen) {
		t.Errorf("%s: %q, want %s: %q", r.Level, r.Seen, level, seen)
	}
}

func TestMemoryProbes(t *testing.T) {
	s := &Service{cfg: Config{LimitMB: 200, WarnPercent: 80, CriticalPercent: 95}}
	for _, c := range []struct {
		pressure, level string
		err             error
	}{{bus.PressureNormal, bus.LevelOK, nil}, {bus.PressureWarn, bus.LevelWarn, nil}, {bus.PressureCritical, bus.LevelFail, nil}, {bus.PressureNormal, bus.LevelFail, errUnread}} {
		s.reading = reading{Memory: bus.Memory{RSS: 50 << 20, Limit: 200 << 20, Pressure: c.pressure}, err: c.err, resident: 30 << 20, live: 12 << 20}
		if r := s.probeMemory(t.Context()); r.Level != c.level {
			t.Errorf("%s, %v: %+v", c.pressure, c.err, r)
		}
	}
	s.reading.err, s.reading.Limit = nil, 64<<20 // the control group's, which may be less than what is resident
	files := fstest.MapFS{"proc/self/status": {Data: []byte("Name:\tblufio\nVmHWM:\t  92160 kB\nRssAnon:\t  40960 kB\nRssFile:\t  20480 kB\n")}}
	s.deps.Root = files
	wants(t, s.probeParts(t.Context()), bus.LevelOK, "Go 30 MiB (live 12), database and other 10 MiB, program 20 MiB; at most 90 MiB resident since the start, memory.limit_mb is 200")
	files["proc/self/status"].Data = []byte("VmHWM:\t  409600 kB\n")
	wants(t, s.probeParts(t.Context()), bus.LevelInfo, "at most 400 MiB resident since the start, memory.limit_mb is 200")
	delete(files, "proc/self/status")
	wants(t, s.probeParts(t.Context()), bus.LevelSkip, "not known")

	wants(t, s.probeGroup(t.Context()), bus.LevelOK, "no limit")
	files["proc/self/cgroup"] = &fstest.MapFile{Data: []byte("0::/blufio\n")}
	limit := &fstest.MapFile{Data: []byte("104857600\n")}
	files["sys/fs/cgroup/blufio/memory.max"] = limit
	wants(t, s.probeGroup(t.Context()), bus.LevelInfo, "it allows 100 MiB, less than memory.limit_mb, which is 200; the nearer one counts")
	limit.Data = []byte("1073741824\n")
	wants(t, s.probeGroup(t.Context()), bus.LevelOK, "it allows 1024 MiB")
	limit.Data = []byte("much\n")
	wants(t, s.probeGroup(t.Context()), bus.LevelWarn, "cannot be read")
}
