// SPDX-License-Identifier: MIT OR Apache-2.0

// Command mandoc writes contrib/man and contrib/completions from the commands' help
// and the sections of package cli's comment. Run it with `go generate ./cli`.
//
// What it makes depends on nothing else: no date, no version, no environment.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/blufio/blufio/cli"
	"github.com/spf13/cobra"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "mandoc:", err)
		os.Exit(1)
	}
}

// run writes the files, and deletes those of commands that are gone.
func run(dir string) error {
	files, err := generate(dir)
	if err != nil {
		return err
	}
	for _, made := range []string{"contrib/man", "contrib/completions"} {
		if err := os.RemoveAll(filepath.Join(dir, "..", made)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, "..", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns the files by their paths in the repository; dir is that of package
// cli.
func generate(dir string) (map[string][]byte, error) {
	sections, err := packageSections(filepath.Join(dir, "doc.go"), "Exit codes", "Files", "Environment")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	var pages func(cmd *cobra.Command)
	pages = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		files["contrib/man/"+pageName(cmd)+".1"] = page(cmd, sections)
		for _, child := range cmd.Commands() {
			pages(child)
		}
	}
	pages(cli.Tree())
	return files, completions(files)
}

// completions adds the scripts under the names by which shells look for them.
func completions(files map[string][]byte) error {
	for shell, name := range map[string]string{"bash": "bash/blufio", "zsh": "zsh/_blufio", "fish": "fish/blufio.fish"} {
		var b, complaint bytes.Buffer
		if code := cli.Main([]string{"completion", shell}, strings.NewReader(""), &b, &complaint, nil); code != 0 {
			return fmt.Errorf("make completion %s: %s", name, complaint.String())
		}
		files["contrib/completions/"+name] = b.Bytes()
	}
	return nil
}

// section is a part of the package's comment.
type section struct {
	title  string
	blocks []comment.Block
}

// packageSections reads the named sections of the package comment in a file.
func packageSections(path string, titles ...string) ([]section, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("read package comment: %w", err)
	}
	var found []section
	for _, block := range parse(packageDoc(file)) {
		if heading, ok := block.(*comment.Heading); ok {
			found = append(found, section{title: plain(heading.Text)})
		} else if n := len(found); n > 0 {
			found[n-1].blocks = append(found[n-1].blocks, block)
		}
	}
	var wanted []section
	for _, title := range titles {
		i := slices.IndexFunc(found, func(s section) bool { return s.title == title })
		if i < 0 {
			return nil, fmt.Errorf("package comment in %s: no section %q", path, title)
		}
		wanted = append(wanted, found[i])
	}
	return wanted, nil
}

func packageDoc(file *ast.File) string {
	if file.Doc == nil {
		return ""
	}
	return file.Doc.Text()
}

// parse reads help or a comment: paragraphs, and indented lines that stay as they are.
func parse(text string) []comment.Block {
	var p comment.Parser
	return p.Parse(text).Content
}
