// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

func (a *app) configGetCommand() *cobra.Command {
	origin := false
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print the value of a key or of a section, as the daemon would take it",
		Long: "Print the value of a key as the daemon would take it: from defaults, files and\n" +
			"environment. A section prints all of its keys and where each was set. Secrets\n" +
			"are never shown. With --origin one key says it too: default, a file with line and\n" +
			"column, an environment variable, or the vault.",
		Example: "  blufio config get gateway.listen\n  blufio config get cost.daily_usd --origin\n  blufio config get gateway\n  blufio config get --json agent.provider",
		Args:    oneArg("key"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			_, loaded, err := serve.Load(a.sources(nil))
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return loaded.Keys(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			_, loaded, err := serve.Load(a.sources(nil))
			if err != nil {
				return err
			}
			vaulted, _ := a.vaulted(cmd.Context()) // without, it is the configuration alone
			for _, name := range a.unreadable(cmd.Context(), vaulted, args[0]) {
				a.note("%s is kept in the vault and cannot be read: see `blufio config list-secrets`", line(name))
			}
			return a.printKey(cmd, serve.Effective{Loaded: loaded, Vaulted: vaulted}, args[0], origin)
		},
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "tell also where the value comes from, and when a change of it counts")
	return cmd
}

// printKey prints one value, or every value below a section.
func (a *app) printKey(cmd *cobra.Command, l serve.Effective, key string, origin bool) error {
	value, ok := l.Get(key)
	switch {
	case ok && origin && a.json:
		return a.printJSON(l.Setting(key))
	case ok && origin:
		return a.print(settingsTable(l, key))
	case ok && a.json:
		return a.printJSON(value)
	case ok:
		return a.print(plainValue(value) + "\n")
	}
	var keys []string
	for _, k := range l.Keys() {
		if strings.HasPrefix(k, key+".") {
			keys = append(keys, k)
		}
	}
	switch {
	case len(keys) == 0:
		f := misuse(cmd, "there is no key %q in the configuration", key)
		f.hint = "`blufio config get SECTION` lists the keys of a section, such as gateway"
		if near := config.Nearest(key, sectionsAnd(l.Keys())); near != "" {
			f.hint = "did you mean " + near + "?"
		}
		return f
	case a.json && origin:
		return a.printJSON(l.Settings(keys))
	case a.json:
		section := map[string]any{}
		for _, k := range keys {
			section[k], _ = l.Get(k)
		}
		return a.printJSON(section)
	}
	return a.print(settingsTable(l, keys...))
}

// sectionsAnd are keys and the sections that they stand in.
func sectionsAnd(keys []string) []string {
	all := slices.Clone(keys)
	for _, key := range keys {
		if i := strings.LastIndex(key, "."); i > 0 && !slices.Contains(all, key[:i]) {
			all = append(all, key[:i])
		}
	}
	return all
}

// table is one line for each key: what it is worth and where that comes from.
func settingsTable(e serve.Effective, keys ...string) string {
	rows := make([][]string, len(keys))
	for i, key := range keys {
		value, _ := e.Get(key)
		rows[i] = []string{key, "= " + tomlValue(value), "# " + e.Whence(key).String()}
	}
	return table(rows)
}

// plainValue writes a value for scripts: text as it is, one element of a list a line.
func plainValue(value any) string {
	list, ok := value.([]any)
	if !ok {
		return fmt.Sprint(value)
	}
	items := make([]string, len(list))
	for i, item := range list {
		items[i] = fmt.Sprint(item)
	}
	return strings.Join(items, "\n")
}

// tomlValue writes a value as the file would have it.
func tomlValue(value any) string {
	switch v := value.(type) {
	case string:
		return strconv.Quote(v)
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = tomlValue(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(value)
}

func (a *app) configShowCommand() *cobra.Command {
	var defaults, changed bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print every key, what it is worth and where that comes from",
		Long: "Print every key as the daemon would take it, with where its value comes from: a\n" +
			"default, a file with line and column, an environment variable, or the vault. Secrets\n" +
			"are never shown. --changed prints only what is not as it comes; --defaults prints a\n" +
			"file that sets every key to its default, with what each is for.",
		Example: "  blufio config show\n  blufio config show --changed\n  blufio config show --defaults > blufio.toml\n" +
			"  blufio config show --json | jq -r '.keys[] | select(.live) | .key'",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case defaults && changed:
				return misuse(cmd, "--defaults and --changed exclude each other")
			case defaults:
				return a.showDefaults()
			}
			_, loaded, err := serve.Load(a.sources(nil))
			if err != nil {
				return err
			}
			vaulted, _ := a.vaulted(cmd.Context()) // as for config get
			return a.showConfig(serve.Effective{Loaded: loaded, Vaulted: vaulted}, changed)
		},
	}
	cmd.Flags().BoolVar(&defaults, "defaults", false, "print the defaults, as a file that could be used")
	cmd.Flags().BoolVar(&changed, "changed", false, "print only what differs from the defaults")
	return cmd
}

// showDefaults needs no valid configuration.
func (a *app) showDefaults() error {
	if !a.json {
		return a.print(config.DefaultFile(serve.Defaults()))
	}
	_, loaded, err := serve.Load(config.Sources{})
	if err != nil {
		return err
	}
	return a.showConfig(serve.Effective{Loaded: loaded}, false)
}

func (a *app) showConfig(e serve.Effective, changed bool) error {
	keys := e.Keys()
	if changed {
		keys = slices.DeleteFunc(keys, func(key string) bool { return !e.IsChanged(key) })
	}
	if a.json {
		return a.printJSON(e.Shown(keys))
	}
	if len(keys) == 0 {
		a.note("everything is as it comes")
	}
	return a.print(settingsTable(e, keys...))
}
