// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"math"
	"testing"
	"testing/fstest"
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
		{"a field that ends in a letter", "1 2x 3", 0},
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
		got, _ := findGroup(tree(map[string]string{
			cgroupFile: groups, "sys/fs/cgroup/memory.max": limit, "sys/fs/cgroup/memory/memory.limit_in_bytes": limit}))
		if got.limit < 0 || got.limit >= unlimited || got.limit > 0 && got.kind == nil {
			t.Errorf("%+v", got)
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
			got, err := findGroup(tree(tc.files))
			if got.limit != tc.want || (err != nil) != tc.fails {
				t.Errorf("%d, %v; want %d", got.limit, err, tc.want)
			}
		})
	}
}
