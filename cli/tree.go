// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Tree returns all commands, as a user without any settings has them: for those who
// make manuals and completions of them. Running one reads and prints nothing.
func Tree() *cobra.Command {
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, now: time.Now}
	return a.root()
}
