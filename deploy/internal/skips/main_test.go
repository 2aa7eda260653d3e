// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	const skip = `{"Action":"output","Package":"p","Test":"TestA/sub","Output":"    a_test.go:1: no root\n"}
{"Action":"output","Package":"p","Test":"TestA/sub","Output":"--- SKIP: TestA/sub (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA/sub"}
{"Action":"skip","Package":"empty"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`
	const fail = `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:2: broken\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
`
	for _, c := range []struct {
		name, in string
		agreed   []string
		shows    string
		wrong    string
	}{
		{"agreed", skip, []string{"p TestA"}, "ok  \tp\t0.1s\nSKIPPED p TestA/sub: a_test.go:1: no root\n", ""},
		{"not agreed", skip, []string{"p TestAB", "q TestA"}, "SKIPPED p TestA/sub", "not on the list: p TestA/sub"},
		{"failed", fail, nil, "    b_test.go:2: broken\n", "tests failed"},
		{"not JSON", "go: downloading\n", nil, "go: downloading\n", ""},
		{"does not build", `{"ImportPath":"p","Action":"build-output","Output":"x.go:1: undefined\n"}` + "\n" + `{"ImportPath":"p","Action":"build-fail"}` + "\n", nil, "x.go:1: undefined\n", "tests failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			err := judge(strings.NewReader(c.in), &out, c.agreed)
			if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
				t.Errorf("it ends with %v, want %q", err, c.wrong)
			}
			if !strings.Contains(out.String(), c.shows) {
				t.Errorf("it shows %q, want %q", &out, c.shows)
			}
		})
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "skips")
	if err := os.WriteFile(path, []byte("# why\n\np  TestA # here\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := read(path); err != nil || !slices.Equal(got, []string{"p TestA"}) {
		t.Error(got, err)
	}
}
