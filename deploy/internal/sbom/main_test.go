// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime/debug"
	"testing"
	"time"
)

func TestSameProgramSameBytes(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var one, two bytes.Buffer
	for _, w := range []*bytes.Buffer{&one, &two} {
		if err := run(w, self, "1.2.3", time.Unix(1700000000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if one.String() != two.String() {
		t.Errorf("two runs differ:\n%s%s", &one, &two)
	}
	var d document
	if err := json.Unmarshal(one.Bytes(), &d); err != nil || d.Metadata.Timestamp != "2023-11-14T22:13:20Z" {
		t.Errorf("%v\n%s", err, &one)
	}
}

func TestReplacedModulesAreNamed(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.1", Main: debug.Module{Path: "example.org/x"}, Deps: []*debug.Module{
		{Path: "example.org/a", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/b", Version: "v2.0.0", Sum: "h1:x="}},
	}}
	d := describe(info, [32]byte{}, "1", time.Unix(0, 0))
	last := d.Components[len(d.Components)-1]
	if last.PURL != "pkg:golang/example.org/b@v2.0.0" || last.Properties[0] != (property{"go:sum", "h1:x="}) {
		t.Errorf("%+v", last)
	}
}

func TestNoProgram(t *testing.T) {
	if err := run(&bytes.Buffer{}, "main.go", "1", time.Unix(0, 0)); err == nil {
		t.Error("a source file is taken for a program")
	}
}
