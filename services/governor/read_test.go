// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"io/fs"
	"math"
	"os"
	"runtime"
	"testing"
	"testing/fstest"

	"github.com/blufio/blufio/bus"
)

// tree makes a fake root of files by name and content.
func tree(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, content := range files {
		root[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o444}
	}
	return root
}

func TestStatm(t *testing.T) {
	for _, tc := range []struct {
		name, content string
		want          int64 // 0: an error
	}{
		{"as the kernel writes it", "12345 678 90 1 0 2 0\n", 678 * 4096},
		{"two fields are enough", "1 2", 2 * 4096},
		{"empty", "", 0},
		{"one field", "12345\n", 0},
		{"no number", "12345 many 90\n", 0},
		{"negative", "12345 -1 90\n", 0},
		{"nothing resident", "0 0 0 0 0 0 0\n", 0}, // as of a process that is gone
		{"beyond any memory", "1 9223372036854775807 1\n", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseStatm([]byte(tc.content), 4096)
			if got != tc.want || (err != nil) != (tc.want == 0) {
				t.Errorf("%d, %v; want %d", got, err, tc.want)
			}
		})
	}
}

func FuzzStatm(f *testing.F) {
	f.Add([]byte("12345 678 90 1 0 2 0\n"))
	f.Add([]byte("1 9223372036854775807"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if rss, err := parseStatm(content, 4096); (err == nil) != (rss > 0) || rss > math.MaxInt64/100 {
			t.Errorf("%d, %v", rss, err)
		}
	})
}

func FuzzCgroup(f *testing.F) {
	f.Add("0::/system.slice/blufio.service\n", "104857600\n")
	f.Add("4:cpu,memory:/docker/x\n0::/\n", "max\n")
	f.Add("0::/../..\n", "\xff")
	f.Fuzz(func(t *testing.T, groups, limit string) {
		got, _ := cgroupLimit(tree(map[string]string{
			cgroupFile: groups, "sys/fs/cgroup/memory.max": limit, "sys/fs/cgroup/memory/memory.limit_in_bytes": limit}))
		if got < 0 || got >= unlimited {
			t.Errorf("limit %d", got)
		}
	})
}

func TestCgroupLimit(t *testing.T) {
	const unit = "0::/system.slice/blufio.service\n"
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  int64
		fails bool
	}{
		{"no control groups at all", nil, 0, false},
		{"version 2, a limit", map[string]string{cgroupFile: unit,
			"sys/fs/cgroup/system.slice/blufio.service/memory.max":  "104857600\n",
			"sys/fs/cgroup/system.slice/blufio.service/memory.high": "max\n",
			"sys/fs/cgroup/system.slice/memory.max":                 "max\n"}, 100 << 20, false},
		{"version 2, the soft limit is lower", map[string]string{cgroupFile: unit,
			"sys/fs/cgroup/system.slice/blufio.service/memory.max":  "104857600\n",
			"sys/fs/cgroup/system.slice/blufio.service/memory.high": "83886080\n"}, 80 << 20, false},
		{"version 2, the slice's limit is lower", map[string]string{cgroupFile: unit,
			"sys/fs/cgroup/system.slice/blufio.service/memory.max": "104857600\n",
			"sys/fs/cgroup/system.slice/memory.max":                "52428800\n"}, 50 << 20, false},
		{"version 2, in a container", map[string]string{cgroupFile: "0::/\n",
			"sys/fs/cgroup/memory.max": "104857600\n"}, 100 << 20, false},
		{"version 2, outside its own namespace", map[string]string{cgroupFile: "0::/../other\n",
			"sys/fs/cgroup/memory.max": "104857600\n"}, 100 << 20, false},
		{"version 2, no limit", map[string]string{cgroupFile: unit,
			"sys/fs/cgroup/system.slice/blufio.service/memory.max": "max\n"}, 0, false},
		{"version 1, a limit", map[string]string{cgroupFile: "9:cpu,memory:/docker/abc\n3:pids:/x\n",
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "104857600\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":            "9223372036854771712\n"}, 100 << 20, false},
		{"version 1, in a container that sees its own group as the root", map[string]string{cgroupFile: "9:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "104857600\n"}, 100 << 20, false},
		{"version 1, no limit", map[string]string{cgroupFile: "9:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0, false},
		{"both versions, the lower holds", map[string]string{cgroupFile: "9:memory:/\n0::/a\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "104857600\n",
			"sys/fs/cgroup/a/memory.max":                 "94371840\n"}, 90 << 20, false},
		{"garbage for a limit", map[string]string{cgroupFile: "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "lots\n"}, 0, true},
		{"an empty limit", map[string]string{cgroupFile: "0::/\n", "sys/fs/cgroup/memory.max": ""}, 0, true},
		{"a limit of zero", map[string]string{cgroupFile: "0::/\n", "sys/fs/cgroup/memory.max": "0\n"}, 0, true},
		{"garbage beside a limit: the limit holds", map[string]string{cgroupFile: "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "lots\n", "sys/fs/cgroup/memory.max": "104857600\n"}, 100 << 20, true},
		{"garbage for groups", map[string]string{cgroupFile: "hello\n"}, 0, true},
		{"a limit that is a directory", map[string]string{cgroupFile: "0::/\n", "sys/fs/cgroup/memory.max/x": ""}, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := cgroupLimit(tree(tc.files))
			if got != tc.want || (err != nil) != tc.fails {
				t.Errorf("%d, %v; want %d", got, err, tc.want)
			}
		})
	}
}

// The machine the test runs on has its own truth; here it only has to be sane.
func TestThisMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has /proc")
	}
	root := os.DirFS("/")
	content, err := fs.ReadFile(root, statmFile)
	if err != nil {
		t.Fatal(err)
	}
	if rss, err := parseStatm(content, int64(os.Getpagesize())); err != nil || rss < 1<<20 {
		t.Errorf("resident set %d, %v", rss, err)
	}
	if limit, err := cgroupLimit(root); err != nil || limit < 0 {
		t.Errorf("control group's limit %d, %v", limit, err)
	}
	if heap := heapReader()(); heap <= 0 {
		t.Errorf("heap %d", heap)
	}
}

func TestLevels(t *testing.T) {
	const n, w, c = bus.PressureNormal, bus.PressureWarn, bus.PressureCritical
	cfg := Config{LimitMB: 100, WarnPercent: 80, CriticalPercent: 95}
	for _, tc := range []struct {
		name     string
		baseline int64
		rss      []int64
		want     []string
	}{
		{"up and down", 0, []int64{79, 80, 94, 95, 100, 90, 89, 75, 74}, []string{n, w, w, c, c, c, w, w, n}},
		{"trembling around warn", 0, []int64{80, 79, 80, 76, 80, 75, 74, 79}, []string{w, w, w, w, w, w, n, n}},
		{"trembling around critical", 0, []int64{95, 94, 91, 95, 89, 94}, []string{c, c, c, c, w, w}},
		{"jumps", 0, []int64{10, 99, 10, 85, 10}, []string{n, c, n, w, n}},
		{"far over", 0, []int64{500}, []string{c}},
		{"the baseline weighs nothing", 50, []int64{89, 90, 97, 98, 88, 87}, []string{n, w, w, c, w, n}},
		{"more baseline than limit", 200, []int64{210}, []string{c}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			level := n
			for i, rss := range tc.rss {
				level = cfg.levelAfter(level, bus.Memory{RSS: rss, Limit: 100, Baseline: tc.baseline})
				if level != tc.want[i] {
					t.Fatalf("at %d: %s, want %s", rss, level, tc.want[i])
				}
			}
		})
	}
}
