// SPDX-License-Identifier: MIT OR Apache-2.0

// Command skips reads what `go test -json` says, shows it as go test does by itself, and
// then what was skipped. A skip that nobody has agreed to fails, as a failure does:
//
//	go test -json ./... | skips .ci/skips
//
// In the file is a line for each test that may be skipped, package and name, with a
// comment that says where and why; with it its subtests may be. Lines that are not JSON are passed on.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is a line of `go test -json` (see `go doc test2json`).
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -json ./... | skips FILE")
		os.Exit(64)
	}
	agreed, err := read(os.Args[1])
	if err == nil {
		err = judge(os.Stdin, os.Stdout, agreed)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
		os.Exit(1)
	}
}

// read reads the list.
func read(path string) (agreed []string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the skips that are agreed to: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if fields := strings.Fields(line); len(fields) > 0 {
			agreed = append(agreed, strings.Join(fields, " "))
		}
	}
	return agreed, nil
}

// run is what has been read so far.
type run struct {
	out     io.Writer
	said    map[string][]string // output of a test, or of a package for ""
	skipped []string            // with the reason
	failed  bool
	strange []string // skips that are not agreed to
}

// judge shows a run of tests and what was skipped in it.
func judge(in io.Reader, out io.Writer, agreed []string) error {
	r := &run{out: out, said: map[string][]string{}}
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		var e event
		if json.Unmarshal(scan.Bytes(), &e) != nil || e.Action == "" {
			_, _ = fmt.Fprintln(out, scan.Text())
			continue
		}
		r.take(e, agreed)
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("read what go test says: %w", err)
	}
	for _, s := range r.skipped {
		_, _ = fmt.Fprintln(out, "SKIPPED", s)
	}
	switch {
	case len(r.strange) > 0:
		return fmt.Errorf("skipped, and not on the list: %s", strings.Join(r.strange, ", "))
	case r.failed:
		return fmt.Errorf("tests failed")
	}
	return nil
}

func (r *run) take(e event, agreed []string) {
	name := cmp.Or(e.Package, e.ImportPath) + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		r.said[name] = append(r.said[name], e.Output)
		if e.Test == "" && e.Action == "output" && (strings.HasPrefix(e.Output, "ok ") || strings.HasPrefix(e.Output, "FAIL")) {
			_, _ = io.WriteString(r.out, e.Output)
		}
	case "skip":
		if e.Test == "" {
			return // a package without tests
		}
		r.skipped = append(r.skipped, strings.TrimSpace(name)+": "+reason(r.said[name]))
		if !slices.ContainsFunc(agreed, func(a string) bool { return name == a || strings.HasPrefix(name, a+"/") }) {
			r.strange = append(r.strange, name)
		}
	case "fail", "build-fail":
		r.failed = true
		_, _ = io.WriteString(r.out, strings.Join(r.said[name], ""))
	}
	if e.Action == "pass" || e.Action == "skip" {
		delete(r.said, name)
	}
}

// reason is what a test said last before it was skipped.
func reason(said []string) string {
	for _, line := range slices.Backward(said) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			return line
		}
	}
	return "no reason given"
}
