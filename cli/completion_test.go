// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// A shell offers the names of files where one is wanted, and nowhere else.
func TestCompletionOfFiles(t *testing.T) {
	for words, want := range map[string]cobra.ShellCompDirective{
		"restore ":               cobra.ShellCompDirectiveDefault,
		"backup ":                cobra.ShellCompDirectiveDefault,
		"backup verify ":         cobra.ShellCompDirectiveDefault,
		"backup inspect ":        cobra.ShellCompDirectiveDefault,
		"backup drill ":          cobra.ShellCompDirectiveDefault,
		"bugreport ":             cobra.ShellCompDirectiveDefault,
		"restore f --identity ":  cobra.ShellCompDirectiveDefault,
		"status --config ":       cobra.ShellCompDirectiveDefault,
		"status --data-dir ":     cobra.ShellCompDirectiveFilterDirs,
		"backup list ":           cobra.ShellCompDirectiveFilterDirs,
		"restore f ":             cobra.ShellCompDirectiveNoFileComp,
		"status ":                cobra.ShellCompDirectiveNoFileComp,
		"log level debug --for ": cobra.ShellCompDirectiveNoFileComp,
	} {
		var out strings.Builder
		args := append([]string{"__complete"}, strings.Split(words, " ")...)
		if code := Main(args, os.Stdin, &out, &strings.Builder{}, nil); code != 0 || !strings.HasSuffix(out.String(), fmt.Sprintf(":%d\n", want)) {
			t.Errorf("%q: exit code %d, %q; want directive %d", words, code, &out, want)
		}
	}
}
