// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// app is one run of the program: its streams, its environment and the flags that
// every command has.
type app struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
	now      func() time.Time

	configFile string
	dataDir    string
	node       string
	plain      bool
	json       bool
}

// Main runs one command and returns the process's exit code. args are without the
// program's name; environ is as os.Environ gives it. Main listens to signals of the
// process while a command runs that has something to finish.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	a := &app{in: stdin, out: stdout, err: stderr, environ: environ, now: time.Now}
	return a.run(context.Background(), args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(append([]string{}, args...)) // never nil, for which cobra takes os.Args
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	return a.report(explain(usage(cmd, err)))
}

// root builds the tree of commands anew, so that no state outlives a run.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "blufio",
		Short: "An always-on personal AI agent in one file",
		Long: "blufio is an always-on personal AI agent. `blufio serve` runs it;\n" +
			"the other commands talk to the one that runs on this machine.",
		Example:       "  blufio serve\n  blufio send \"hello\"\n  blufio status --watch",
		Version:       buildInfo().Version,
		SilenceErrors: true, SilenceUsage: true,
		SuggestionsMinimumDistance: 2,
		PersistentPreRunE:          a.checkNode,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return flagError(cmd, err) })

	flags := root.PersistentFlags()
	flags.StringVar(&a.configFile, "config", a.getenv("BLUFIO_CONFIG"), "read this `FILE` instead of the usual ones (BLUFIO_CONFIG)")
	flags.StringVar(&a.dataDir, "data-dir", a.getenv("BLUFIO_DATA_DIR"), "`DIR` that holds the database and the device key (BLUFIO_DATA_DIR)")
	flags.StringVar(&a.node, "node", "", "ask the daemon of this `NAME` on the hub (status, doctor)")
	flags.BoolVar(&a.plain, "plain", false, "no colour, no symbols")
	flags.BoolVar(&a.json, "json", false, "machine-readable output")

	root.AddCommand(a.serveCommand(), a.sendCommand(), a.shellCommand(), a.messageCommand(), a.statusCommand(), a.doctorCommand(), a.backupCommand(), a.restoreCommand(), a.bugReportCommand(), a.nodesCommand(), a.healthCommand(),
		a.eventsCommand(), a.configCommand(), a.tokenCommand(), a.keysCommand(), a.costCommand(), a.queueCommand(), a.recallCommand(), a.logCommand(), a.completionCommand(), a.versionCommand())
	root.SetHelpCommand(helpCommand())
	completeFlags(root)
	return root
}

// group makes a command that only holds others.
func group(use, short, example string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, SuggestionsMinimumDistance: 2,
		Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}

// getenv returns a variable of the run's environment, "" if it is not set. Of a
// variable that is there twice the last counts, as for a shell.
func (a *app) getenv(name string) string {
	value := ""
	for _, line := range a.environ {
		if v, ok := strings.CutPrefix(line, name+"="); ok {
			value = v
		}
	}
	return value
}
