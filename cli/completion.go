// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) completionCommand() *cobra.Command {
	cmd := group("completion", "Print a script that lets a shell complete blufio's commands",
		"  blufio completion bash\n  blufio completion zsh\n  blufio completion fish",
		a.completionFor("bash", "", "Bash needs the package bash-completion: without it, Tab only reports an error.",
			"  source <(blufio completion bash)\n"+
				"  blufio completion bash > ~/.local/share/bash-completion/completions/blufio",
			func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) }),
		a.completionFor("zsh", "#compdef blufio\n", "Zsh looks for it in the directories of $fpath.",
			"  blufio completion zsh > ~/.zfunc/_blufio", (*cobra.Command).GenZshCompletion),
		a.completionFor("fish", "", "Fish looks for it by itself.",
			"  blufio completion fish > ~/.config/fish/completions/blufio.fish",
			func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) }))
	cmd.Long = "Print a script that lets a shell complete blufio's commands, flags and values. A package\n" +
		"of blufio has put it where the shell looks."
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return misuse(cmd, "there is no script for %q: there are bash, zsh and fish", args[0])
		}
		return misuse(cmd, "name a shell: there are bash, zsh and fish")
	}
	return cmd
}

// completionFor makes the command for one shell. first is the line that the shell wants
// to see before any other.
func (a *app) completionFor(shell, first, needs, example string, write func(*cobra.Command, io.Writer) error) *cobra.Command {
	return &cobra.Command{
		Use:     shell,
		Short:   "Print the script for " + shell,
		Long:    "Print the script for " + shell + ".\n\n" + needs,
		Example: example,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var b bytes.Buffer
			if err := write(cmd.Root(), &b); err != nil {
				return fmt.Errorf("make completion for %s: %w", shell, err)
			}
			return a.print(first + "# " + needs + "\n" + string(bytes.TrimPrefix(b.Bytes(), []byte(first))))
		},
	}
}

// completeFlags keeps shells from offering the names of files where none is wanted, and has them do it where one is.
func completeFlags(cmd *cobra.Command) {
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = firstOnly(completeNamed(strings.Trim(cmd.Use[strings.LastIndex(cmd.Use, " ")+1:], "[]")))
	}
	register := func(f *pflag.Flag) {
		if _, own := cmd.GetFlagCompletionFunc(f.Name); !own {
			named, _ := pflag.UnquoteUsage(f)
			_ = cmd.RegisterFlagCompletionFunc(f.Name, completeNamed(named)) // the flag is there
		}
	}
	cmd.LocalFlags().VisitAll(register)
	for _, child := range cmd.Commands() {
		completeFlags(child)
	}
}

// completeNamed completes what the usage calls FILE, PATH or DIR as a shell does, and nothing else.
func completeNamed(name string) cobra.CompletionFunc {
	switch name {
	case "FILE", "PATH":
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	case "DIR":
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
	}
	return cobra.NoFileCompletions
}

// firstOnly completes one argument, and none behind it.
func firstOnly(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, begun)
	}
}

// helpCommand shows the help of a command that is named behind it.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show how a command is used",
		Long:    "Show how a command is used. `blufio COMMAND --help` shows the same.",
		Example: "  blufio help send\n  blufio help config get",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if about, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				for _, child := range about.Commands() {
					if child.IsAvailableCommand() {
						names = append(names, child.Name()+"\t"+child.Short)
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(about, append(rest, args...)[0])
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}
