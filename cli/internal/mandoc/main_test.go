// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files are what the commands say now, and there are no others.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	files, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	root := "../../.."
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Errorf("%v; run: make generate", err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the commands say; run: make generate", name)
		}
	}
	for _, dir := range []string{"contrib/man", "contrib/completions"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(root, path)
			if _, ok := files[name]; !ok {
				t.Errorf("%s belongs to no command; run: make generate", name)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// Two runs in different surroundings make the same.
func TestGenerateIsDeterministic(t *testing.T) {
	one, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("BLUFIO_CONFIG", "/elsewhere/blufio.toml")
	t.Setenv("BLUFIO_DATA_DIR", "/elsewhere")
	two, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name := range one {
		if !bytes.Equal(one[name], two[name]) {
			t.Errorf("%s depends on its surroundings", name)
		}
	}
	if len(one) != len(two) {
		t.Error("not the same files")
	}
}

// Every line that begins like a request is one of those that pages use.
func TestPagesHaveKnownRequestsOnly(t *testing.T) {
	files, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{`.\"`: true, ".TH": true, ".SH": true, ".B": true, ".BR": true, ".PP": true, ".TP": true, ".RS": true, ".RE": true, ".nf": true, ".fi": true, ".IP": true, ".nh": true, ".ad": true}
	for name, text := range files {
		if !strings.HasSuffix(name, ".1") {
			continue
		}
		for _, section := range []string{".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", ".SH EXAMPLES\n"} {
			if !bytes.Contains(text, []byte(section)) {
				t.Errorf("%s: no %s", name, strings.TrimSpace(section))
			}
		}
		for l := range strings.Lines(string(text)) {
			request, _, _ := strings.Cut(strings.TrimSpace(l), " ")
			if strings.HasPrefix(l, "'") || strings.HasPrefix(l, ".") && !known[request] {
				t.Errorf("%s: request %q", name, l)
			}
		}
	}
}

func TestText(t *testing.T) {
	r := &roff{}
	for in, want := range map[string]string{
		"see `blufio status --json`":         `see \fBblufio status \-\-json\fR`,
		"a well-known --flag, not -- a dash": `a well-known \-\-flag, not -- a dash`,
		".hidden\n'quoted'":                  `\&.hidden` + "\n" + `\(aqquoted\(aq`,
		`a \ back`:                           `a \e back`,
	} {
		if got := r.text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := r.code("printf '%s\\n' ~ | x -"); got != `printf \(aq%s\en\(aq \(ti | x \-` {
		t.Errorf("code: %s", got)
	}
}
