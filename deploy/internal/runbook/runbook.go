// SPDX-License-Identifier: MIT OR Apache-2.0

// Package runbook reads the commands of docs/runbooks, so that tests can run them. Fenced
// blocks count, by what stands behind the fence:
//
//	sh          runs anywhere, against a daemon
//	sh machine  needs a packaged install under systemd, and root
//	toml        belongs at the end of the configuration
package runbook

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Page is a runbook.
type Page struct {
	Name   string // without .md
	Blocks []Block
}

// Block is what stands between two fences.
type Block struct {
	Kind string // "sh", "sh machine" or "toml"
	Line int    // where it begins
	Text string
}

// Kinds of blocks.
const (
	Anywhere = "sh"
	Machine  = "sh machine"
	Settings = "toml"
)

// Read reads all pages of a directory, in the order of their names.
func Read(dir string) ([]Page, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return nil, err
	}
	var pages []Page
	for _, path := range paths {
		page, err := readPage(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		pages = append(pages, page)
	}
	return pages, nil
}

func readPage(path string) (Page, error) {
	f, err := os.Open(path)
	if err != nil {
		return Page{}, err
	}
	defer f.Close()
	page := Page{Name: strings.TrimSuffix(filepath.Base(path), ".md")}
	var open *Block
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		kind, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			if kind != Anywhere && kind != Machine && kind != Settings {
				return page, fmt.Errorf("line %d: a block of %q, which no test would run", n, kind)
			}
			open = &Block{Kind: kind, Line: n + 1}
		case fence:
			page.Blocks, open = append(page.Blocks, *open), nil
		case open != nil:
			open.Text += line + "\n"
		}
	}
	if open != nil {
		return page, fmt.Errorf("line %d: the block does not end", open.Line)
	}
	return page, lines.Err()
}

// Script is a block for bash. It ends at the first command that fails, in a pipe too. A check that
// finds something has not failed: that is what it is for.
func (b Block) Script() string {
	return `set -euo pipefail
sudo() { "$@"; }
blufio() {
	command blufio "$@" && return
	rc=$?
	case "$1 $rc" in "doctor 1"|"doctor 2"|"status 1") return 0;; esac
	return $rc
}
` + b.Text
}
