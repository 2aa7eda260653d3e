// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the release, set by the linker and never changed:
// -ldflags "-X github.com/blufio/blufio/cli.version=1.2.3". commit is set the same way
// where the compiler finds none by itself, as in a second working tree.
var version, commit string

// build says what this program is.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`   // "" when built outside a checkout
	Modified bool   `json:"modified"` // built with uncommitted changes
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

// buildInfo puts together what the linker and the compiler recorded.
func buildInfo() build {
	b := build{Version: version, Commit: commit, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (b build) String() string {
	s := fmt.Sprintf("blufio %s (%s, %s/%s", b.Version, b.Go, b.OS, b.Arch)
	if b.Commit != "" {
		s += ", commit " + b.Commit[:min(12, len(b.Commit))]
	}
	if b.Modified {
		s += ", modified"
	}
	return s + ")"
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show which program this is",
		Long: "Show which program this is: its release, the compiler and system it was built with and\n" +
			"for, and the commit it was built from. The running daemon's is in `blufio status`.",
		Example: "  blufio version\n  blufio version --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			b := buildInfo()
			if a.json {
				return a.printJSON(b)
			}
			return a.print(b.String() + "\n")
		},
	}
}
