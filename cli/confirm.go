// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// confirm asks a question before something that cannot be undone. yes has answered
// it already; without a terminal nobody can.
func (a *app) confirm(cmd *cobra.Command, question string, yes bool) error {
	if yes {
		return nil
	}
	if _, ok := terminal(a.in); !ok {
		return fail(exitUsage, "add --yes if it is meant", "`%s` asks before it does that, and there is no terminal to ask on", cmd.CommandPath())
	}
	_, _ = fmt.Fprintf(a.err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(io.LimitReader(a.in, 1<<10)).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("read answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fail(exitFailed, "", "nothing was changed")
}
