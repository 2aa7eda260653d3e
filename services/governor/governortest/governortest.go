// SPDX-License-Identifier: MIT OR Apache-2.0

// Package governortest gives tests of a whole daemon a machine for its governor.
package governortest

import (
	"testing/fstest"

	"github.com/blufio/blufio/services/governor"
)

// Readable is a machine on which everything about memory can be read, a control group's
// limit of 1 GiB too, so that no metric is absent for where a test runs.
func Readable() governor.Deps {
	files := fstest.MapFS{}
	for name, content := range map[string]string{
		"proc/self/statm": "9999 9000 3 4 0 5 0\n", "proc/self/status": "RssAnon:\t20000 kB\n", "proc/self/cgroup": "0::/\n",
		"sys/fs/cgroup/memory.max": "1073741824\n", "sys/fs/cgroup/memory.current": "33554432\n", "sys/fs/cgroup/memory.stat": "anon 20971520\nkernel 1048576\n",
		"sys/fs/cgroup/memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
	} {
		files[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return governor.Deps{Root: files, PageSize: 4096}
}
