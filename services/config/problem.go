// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// The values of [Origin.Source].
const (
	FromDefault = "default"
	FromFile    = "file"
	FromEnv     = "env"
	FromFlag    = "flag"
	FromVault   = "vault" // of values that are not in any source of Load
)

// Origin says where a value came from.
type Origin struct {
	Source string // FromDefault, FromFile, FromEnv, FromFlag or FromVault
	Name   string // path, variable or flag; empty for a default
	Line   int    // 1-based; 0 where a line means nothing
	Column int    // 1-based, in bytes; 0 where a column means nothing
}

// String writes the origin as it stands before a message: "blufio.toml:12:3",
// "environment BLUFIO_LOG__LEVEL", "flag log.level" or "default".
func (o Origin) String() string {
	switch {
	case o.Source == FromEnv:
		return "environment " + o.Name
	case o.Source == FromFlag:
		return "flag " + o.Name
	case o.Source == FromFile && o.Line > 0:
		return fmt.Sprintf("%s:%d:%d", o.Name, o.Line, o.Column)
	case o.Source == FromFile:
		return o.Name
	case o.Source == FromVault:
		return FromVault
	}
	return FromDefault
}

// Problem is one thing wrong with the configuration.
type Problem struct {
	Key     string // dotted; empty when the problem is the file itself
	Origin  Origin
	Message string // a full sentence that names the key, without the origin
	Hint    string // what to do about it, or empty

	cause error
}

// String is one line: the origin, the message, and the hint in brackets.
func (p Problem) String() string {
	line := p.Origin.String() + ": " + p.Message
	if p.Hint != "" {
		line += " (" + p.Hint + ")"
	}
	return line
}

// Problems is everything wrong at once: file by file and line by line, then the
// environment, flags and defaults. It is never empty when Load returns it.
type Problems []Problem

// Error gives one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the causes that come from the file system, so that
// errors.Is(err, fs.ErrNotExist) and fs.ErrPermission work.
func (ps Problems) Unwrap() []error {
	var causes []error
	for _, p := range ps {
		if p.cause != nil {
			causes = append(causes, p.cause)
		}
	}
	return causes
}

// sort puts the problems in the order an owner would look for them.
func (ps Problems) sort(files []string) {
	rank := func(o Origin) int {
		switch o.Source {
		case FromFile:
			return slices.Index(files, o.Name)
		case FromEnv:
			return len(files)
		case FromFlag:
			return len(files) + 1
		}
		return len(files) + 2
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(rank(a.Origin), rank(b.Origin)),
			cmp.Compare(a.Origin.Line, b.Origin.Line),
			cmp.Compare(a.Origin.Column, b.Origin.Column),
			cmp.Compare(a.Origin.Name, b.Origin.Name),
		)
	})
}
