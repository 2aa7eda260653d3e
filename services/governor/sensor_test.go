// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"os"
	"runtime"
	"testing"
)

// v2, v1 and so on are machines as this room sees them; the unit's memory.current is
// far above what counts, for files' pages are in it.
var machines = map[string]struct {
	files          map[string]string
	limit          int64
	bound, current int64
	stall          stall
	ours, stalls   bool
	fails          bool
}{
	"version 2": {files: map[string]string{cgroupFile: "0::/system.slice/blufio.service\n",
		"sys/fs/cgroup/system.slice/blufio.service/memory.max":      "134217728\n",
		"sys/fs/cgroup/system.slice/blufio.service/memory.current":  "125829120\n",
		"sys/fs/cgroup/system.slice/blufio.service/memory.stat":     "anon 41943040\nfile 73400320\nkernel 4194304\nkernel_stack 524288\nshmem 3145728\nsock 1048576\nslab_reclaimable 2097152\n",
		"sys/fs/cgroup/system.slice/blufio.service/memory.pressure": "some avg10=12.50 avg60=3.00 avg300=0.70 total=812345\nfull avg10=4.25 avg60=1.00 avg300=0.20 total=412345\n",
		pressureFile: "some avg10=1.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=1\n"},
		limit: 128 << 20, bound: 46 << 20, current: 120 << 20, stall: stall{12.5, 4.25}, ours: true, stalls: true},
	"version 2 before Linux 5.18": {files: map[string]string{cgroupFile: "0::/\n",
		"sys/fs/cgroup/memory.max": "134217728\n", "sys/fs/cgroup/memory.current": "125829120\n",
		"sys/fs/cgroup/memory.stat": "anon 41943040\nfile 73400320\nshmem 4194304\nkernel_stack 1048576\npagetables 1048576\npercpu 0\nsock 2097152\nslab_reclaimable 5242880\nslab_unreclaimable 2097152\nslab 7340032\n"},
		limit: 128 << 20, bound: 50 << 20, current: 120 << 20},
	"version 2, the limit is the slice's": {files: map[string]string{cgroupFile: "0::/a.slice/b.service\n",
		"sys/fs/cgroup/a.slice/memory.max": "67108864\n", "sys/fs/cgroup/a.slice/memory.current": "50331648\n",
		"sys/fs/cgroup/a.slice/memory.stat":              "anon 33554432\nkernel 1048576\n",
		"sys/fs/cgroup/a.slice/b.service/memory.max":     "max\n",
		"sys/fs/cgroup/a.slice/b.service/memory.current": "1048576\n",
		"sys/fs/cgroup/a.slice/b.service/memory.stat":    "anon 1048576\nkernel 0\n"},
		limit: 64 << 20, bound: 33 << 20, current: 48 << 20},
	"version 2 without a limit": {files: map[string]string{cgroupFile: "0::/a\n",
		"sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/memory.current": "1048576\n", "sys/fs/cgroup/a/memory.stat": "anon 524288\nkernel 524288\n"},
		bound: 1 << 20, current: 1 << 20},
	"version 1": {files: map[string]string{cgroupFile: "9:cpu,memory:/docker/abc\n3:pids:/x\n",
		"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes":      "134217728\n",
		"sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes":      "125829120\n",
		"sys/fs/cgroup/memory/docker/abc/memory.kmem.usage_in_bytes": "4194304\n",
		"sys/fs/cgroup/memory/docker/abc/memory.stat":                "cache 83886080\nrss 41943040\ntotal_cache 83886080\ntotal_rss 42991616\n"},
		limit: 128 << 20, bound: 45 << 20, current: 120 << 20},
	"hybrid: memory is version 1's, and there is an empty version 2": {files: map[string]string{
		cgroupFile: "4:memory:/unit\n1:name=systemd:/unit\n0::/unit\n",
		"sys/fs/cgroup/memory/unit/memory.limit_in_bytes": "134217728\n",
		"sys/fs/cgroup/memory/unit/memory.usage_in_bytes": "125829120\n",
		"sys/fs/cgroup/memory/unit/memory.stat":           "rss 41943040\n",
		"sys/fs/cgroup/unified/unit/cgroup.procs":         "1\n",
		pressureFile: "some avg10=99.99 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"},
		limit: 128 << 20, bound: 40 << 20, current: 120 << 20, stall: stall{99.99, 0}, stalls: true},
	"garbage": {files: map[string]string{cgroupFile: "0::/a\n\x00\xff\n",
		"sys/fs/cgroup/a/memory.max": "lots\n", "sys/fs/cgroup/a/memory.current": "-5\n",
		"sys/fs/cgroup/a/memory.stat": "anon many\nkernel\n", "sys/fs/cgroup/a/memory.pressure": "some avg10=x\n"},
		ours: true, fails: true},
	"no control groups": {files: map[string]string{}},
}

func TestSensors(t *testing.T) {
	for name, m := range machines {
		t.Run(name, func(t *testing.T) {
			m.files[statmFile], m.files[statusFile] = "9999 30 3 4 0 5 0\n", "Name:\tblufio\nVmRSS:\t 30720 kB\nRssAnon:\t   20480 kB\nRssFile:\t 10240 kB\n"
			s := newSensors(&files{root: m.files}, 1<<20)
			defer s.close()
			if err := s.aim(); (err != nil) != m.fails || s.group.limit != m.limit {
				t.Errorf("limit %d, %v", s.group.limit, err)
			}
			for range 2 { // the second time from the open files
				if rss, anon, err := s.process(); rss != 30<<20 || anon != 20<<20 || err != nil {
					t.Errorf("process %d, %d, %v", rss, anon, err)
				}
				if bound, current := s.ofGroup(); bound != m.bound || current != m.current {
					t.Errorf("group holds %d of %d, want %d of %d", bound, current, m.bound, m.current)
				}
				if st, ours, ok := s.stalled(); st != m.stall && m.stalls || ok != m.stalls || ok && ours != m.ours {
					t.Errorf("stalled %+v, %v, %v", st, ours, ok)
				}
			}
		})
	}
}

func TestSized(t *testing.T) {
	for text, want := range map[string]int64{"A:\t 3 kB\n": 3 << 10, "B: 3 kB\n": 0, "A: x kB\n": 0, "A: -3 kB\n": 0, "A:": 0, "A: 99999999999999999 kB": 0} {
		if got, ok := sized([]byte(text), "A:"); got != want || ok != (want > 0) {
			t.Errorf("%q: %d, %v", text, got, ok)
		}
	}
}

func FuzzKernelFiles(f *testing.F) {
	for _, m := range machines {
		for _, content := range m.files {
			f.Add([]byte(content))
		}
	}
	f.Add([]byte("anon 9223372036854775807\nkernel 9223372036854775807\n"))
	f.Add([]byte("some avg10=99999999999.9\nfull avg10=.\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		for what, parse := range map[string]func([]byte) (int64, bool){"1": parseGroup1, "2": parseGroup2, "status": parseAnonymous} {
			if n, ok := parse(content); ok && (n < 0 || n > most) {
				t.Errorf("%s: %d", what, n)
			}
		}
		if s, ok := parseStall(content); ok && (s.some < 0 || s.some > 100 || s.full < 0 || s.full > 100) {
			t.Errorf("%+v", s)
		}
	})
}

// The machine the test runs on has its own truth; here it only has to be sane.
func TestThisMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has /proc")
	}
	s := newSensors(os.DirFS("/"), int64(os.Getpagesize()))
	defer s.close()
	if err := s.aim(); err != nil || s.group.limit < 0 {
		t.Errorf("control group's limit %d, %v", s.group.limit, err)
	}
	for range 2 {
		if rss, anon, err := s.process(); err != nil || rss < 1<<20 || anon <= 0 || anon > rss {
			t.Errorf("resident set %d, anonymous %d, %v", rss, anon, err)
		}
		if bound, current := s.ofGroup(); bound < 0 || current < 0 || s.group.kind != nil && current == 0 {
			t.Errorf("group %+v holds %d of %d", s.group, bound, current)
		}
	}
	if g := goReader()(); g.Objects <= 0 || g.Resident < g.Objects || g.Overhead <= 0 || g.Allocated == 0 {
		t.Errorf("%+v", g)
	}
}
