// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
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
