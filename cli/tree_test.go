// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const helpWidth = 90 // characters of a line

// every calls fn with a command and all below it.
func every(cmd *cobra.Command, fn func(*cobra.Command)) {
	fn(cmd)
	for _, child := range cmd.Commands() {
		every(child, fn)
	}
}

// Every command says what it does, at more length than in one line, and shows how it
// is used.
func TestEveryCommandHasHelp(t *testing.T) {
	every(Tree(), func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		switch {
		case cmd.Short == "" || strings.HasSuffix(cmd.Short, "."):
			t.Errorf("%s: Short %q is not a line without a full stop", path, cmd.Short)
		case !strings.HasSuffix(cmd.Long, ".") || len(cmd.Long) < len(cmd.Short)+20:
			t.Errorf("%s: Long says no more than Short: %q", path, cmd.Long)
		case cmd.Example == "":
			t.Errorf("%s: no example", path)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if name, _ := pflag.UnquoteUsage(f); name != strings.ToUpper(name) {
				t.Errorf("%s: --%s names its value %q and not in capitals", path, f.Name, name)
			}
		})
		for _, l := range strings.Split(cmd.Long, "\n") {
			if utf8.RuneCountInString(l) > helpWidth {
				t.Errorf("%s: a line of Long is too wide: %s", path, l)
			}
		}
		for _, l := range strings.Split(cmd.Example, "\n") {
			if !strings.HasPrefix(l, "  ") || utf8.RuneCountInString(l) > helpWidth {
				t.Errorf("%s: a line of Example is not indented by two, or too wide: %q", path, l)
			}
		}
	})
}

// use is blufio as an example or a help text calls it: up to what the shell takes for
// the end of a command.
var use = regexp.MustCompile("(?m)(?:^ +|[^$\"/.\\w-]|\\$\\()blufio((?: +(?:'[^']*'|\"[^\"]*\"|[^ |;&()<>`'\"\n]+))+)")

var word = regexp.MustCompile(`'[^']*'|"[^"]*"|[^ ]+`)

// What help shows can be typed: the commands and flags are there.
func TestExamplesAreReal(t *testing.T) {
	seen := 0
	every(Tree(), func(cmd *cobra.Command) {
		for _, match := range use.FindAllStringSubmatch(cmd.Example, -1) {
			seen++
			args := word.FindAllString(match[1], -1)
			if args[0] == "help" {
				continue
			}
			found, rest, err := Tree().Find(args)
			if err != nil {
				t.Errorf("%s shows blufio %s: %v", cmd.CommandPath(), match[1], err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s shows blufio %s: %v", cmd.CommandPath(), match[1], err)
			}
			if !found.Runnable() {
				t.Errorf("%s shows blufio %s, which does nothing", cmd.CommandPath(), match[1])
			}
		}
	})
	if seen < 30 {
		t.Errorf("only %d examples were understood", seen)
	}
}

// The same for the commands that hints and help texts name.
func TestHintsAreReal(t *testing.T) {
	quoted := regexp.MustCompile("`blufio ([a-z][^`]*)`")
	var texts []string
	for _, hint := range busHints {
		texts = append(texts, hint)
	}
	every(Tree(), func(cmd *cobra.Command) { texts = append(texts, cmd.Long, cmd.Short) })
	for _, text := range append(texts, hintStart, hintOwner, hintHangs) {
		for _, match := range quoted.FindAllStringSubmatch(text, -1) {
			if found, _, err := Tree().Find(word.FindAllString(match[1], -1)); (err != nil || found == Tree()) && !strings.HasPrefix(match[1], "config set") {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}
