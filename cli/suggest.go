// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"os"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// nearestFlag is the flag of cmd whose name is closest to a mistyped one, "" when
// none is close.
func nearestFlag(cmd *cobra.Command, name string) string {
	best, distance := "", 3
	look := func(f *pflag.Flag) {
		if d := levenshtein.ComputeDistance(name, f.Name); d < distance && !f.Hidden {
			best, distance = f.Name, d
		}
	}
	cmd.Flags().VisitAll(look)
	cmd.InheritedFlags().VisitAll(look)
	return best
}

// mistyped is the command below cmd that a word was probably meant to be, "" when it is more
// likely a path: it has a slash or a dot, something of that name is there, or no command is near.
func mistyped(cmd *cobra.Command, word string) string {
	if strings.ContainsAny(word, "/.") {
		return ""
	}
	if _, err := os.Lstat(word); err == nil {
		return ""
	}
	best, distance := "", 3
	for _, c := range cmd.Commands() {
		for _, name := range append([]string{c.Name()}, c.Aliases...) {
			if d := levenshtein.ComputeDistance(strings.ToLower(word), name); d < distance && !c.Hidden {
				best, distance = c.Name(), d
			}
		}
	}
	return best
}
