// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	proofs = regexp.MustCompile("`([a-z/]+)`((?:,?\\s+Test\\w+)+)")
	test   = regexp.MustCompile(`\bTest[A-Z]\w*`)
)

// Every test that SECURITY.md names is there, in the package that it says.
func TestSecurityNamesTestsThatExist(t *testing.T) {
	data, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, m := range proofs.FindAllStringSubmatch(string(data), -1) {
		source := sourceOf(t, m[1])
		for _, name := range test.FindAllString(m[2], -1) {
			named++
			if !strings.Contains(source, "func "+name+"(t *testing.T)") {
				t.Errorf("%s has no %s", m[1], name)
			}
		}
	}
	if all := len(test.FindAllString(string(data), -1)); named != all || named < 40 {
		t.Errorf("%d tests are named, %d of them behind a package", all, named)
	}
}

// sourceOf is the text of a package's tests.
func sourceOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	return all.String()
}
