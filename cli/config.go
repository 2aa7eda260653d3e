// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	cmd := group("config", "Look at the configuration",
		"  blufio config path\n  blufio config validate\n  blufio config get gateway.listen\n  blufio config show --changed",
		a.configGetCommand(), a.configShowCommand(), a.configValidateCommand(), a.configReloadCommand(), a.configPathCommand(), a.configSetCommand(),
		a.setSecretCommand(), a.listSecretsCommand(), a.deleteSecretCommand(), a.rotateVaultKeyCommand())
	cmd.Long = "Look at the configuration: where it is read from, whether it is valid, what a key is\n" +
		"worth. It is changed with an editor, and takes effect with `blufio config reload` or,\n" +
		"for some keys, when the daemon starts again. Secrets are kept in the vault, by\n" +
		"commands, and count at once. None of these commands but reload needs a running daemon."
	return cmd
}

func (a *app) configValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate",
		Short: "Check the configuration and tell everything that is wrong with it",
		Long: "Check the configuration, as the daemon would at its start, and tell everything that\n" +
			"is wrong with it: the file and the line, or the variable, and what to do about it.\n" +
			"A secret in a file is a warning. Keys of models are looked for in the vault too.\n\n" +
			"--json prints one object, {schema: \"" + validitySchema + "\", valid, problems, warnings};\n" +
			"each problem and warning is {key, source, name, line, column, message, hint}, where\n" +
			"source is file, env, flag or default, name the file's path or the variable's name,\n" +
			"and line and column are 0 outside files.\n\n" +
			"Exit code 0: it is valid, perhaps with warnings; 1: it is not; 5: a file of it may not\n" +
			"be read.",
		Example: "  blufio config validate\n  blufio config validate --config ./blufio.toml --json",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.validate(cmd.Context()) },
	}
}

func (a *app) validate(ctx context.Context) error {
	cfg, loaded, err := serve.Load(a.sources(nil))
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	missing, warnings := a.judgeSecrets(ctx, cfg, loaded)
	warnings = append(serve.Useless(cfg, loaded), warnings...)
	problems = append(problems, missing...)
	if err == nil {
		useless, unknown := judgeFiles(loaded)
		problems, warnings = append(useless, problems...), append(unknown, warnings...)
		if dir, err := a.data(); err == nil {
			problems = append(problems, serve.NotApart(cfg, loaded, dir)...)
		}
	}
	if a.json {
		return errors.Join(a.printJSON(verdict(problems, warnings)), exit(codeOf(problems)))
	}
	for _, w := range warnings {
		a.warn(w.Origin.String()+": "+w.Message, w.Hint)
	}
	if len(problems) > 0 {
		return problems
	}
	return a.print(a.ui(a.out).ok() + " the configuration is valid (" + sourcesOf(loaded) + ")\n")
}

// sourcesOf names the files that were read, and says how much the environment sets.
func sourcesOf(loaded *config.Loaded) string {
	set := int64(0)
	for _, key := range loaded.Keys() {
		if loaded.Origin(key).Source == config.FromEnv {
			set++
		}
	}
	read := loaded.Files()
	if set > 0 {
		read = append(read, plural(set, "key")+" of the environment")
	}
	if len(read) == 0 {
		return "defaults only"
	}
	return strings.Join(read, ", ")
}

// judgeFiles looks at the files that the configuration names. Those that this user may not
// read may be of use to the daemon's.
func judgeFiles(loaded *config.Loaded) (problems, warnings config.Problems) {
	for _, p := range loaded.CheckFiles() {
		if errors.Is(config.Problems{p}, fs.ErrPermission) {
			p.Message += "; whether the daemon's user may is not known"
			warnings = append(warnings, p)
			continue
		}
		problems = append(problems, p)
	}
	return problems, warnings
}

// judgeSecrets looks for the keys of models, and for secrets in files. Where nobody can
// say what is in the vault, a key that is nowhere else is a warning.
func (a *app) judgeSecrets(ctx context.Context, cfg serve.Config, loaded *config.Loaded) (problems, warnings config.Problems) {
	vaulted, err := a.vaulted(ctx)
	missing := serve.MissingKeys(cfg, loaded, vaulted)
	if err != nil {
		for _, p := range missing {
			if errors.Is(err, fs.ErrNotExist) {
				p.Message += ", and there is no vault yet"
			} else {
				p.Message += "; whether the vault has one is not known"
			}
			warnings = append(warnings, p)
		}
		missing = nil
	}
	return missing, append(warnings, serve.SecretsInFiles(loaded, vaulted)...)
}

// warn is complain for what works and should be mended.
func (a *app) warn(message, hint string) {
	a.remark(slog.LevelWarn, a.ui(a.err).yellow("warning:"), message, hint)
}

// codeOf is the exit code for a configuration.
func codeOf(problems config.Problems) int {
	if len(problems) == 0 {
		return exitOK
	}
	return explain(problems).code
}

func exitIf(failed bool) error {
	if failed {
		return exit(exitFailed)
	}
	return nil
}

// problem is one thing wrong with the configuration, for scripts.
type problem struct {
	Key     string `json:"key"`
	Source  string `json:"source"` // file, env, flag or default
	Name    string `json:"name"`   // the file's path or the variable's name
	Line    int    `json:"line"`   // 0 outside files
	Column  int    `json:"column"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// validitySchema names the form of [validity], which only gains fields.
const validitySchema = "blufio.validity/1"

type validity struct {
	Schema   string    `json:"schema"`
	Valid    bool      `json:"valid"`
	Problems []problem `json:"problems"`
	Warnings []problem `json:"warnings"` // what works and should be mended
}

func verdict(found, warnings config.Problems) validity {
	return validity{Schema: validitySchema, Valid: len(found) == 0, Problems: forScripts(found), Warnings: forScripts(warnings)}
}

func forScripts(found config.Problems) []problem {
	out := []problem{}
	for _, p := range found {
		out = append(out, problem{Key: p.Key, Source: p.Origin.Source, Name: p.Origin.Name,
			Line: p.Origin.Line, Column: p.Origin.Column, Message: p.Message, Hint: p.Hint})
	}
	return out
}

// configFile is a place where configuration is looked for.
type configFile struct {
	Path   string `json:"path"`
	Exists bool   `json:"exists"`
}

func (a *app) configPathCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "path",
		Short: "Print where configuration is read from, in the order of merging",
		Long: "Print where configuration is read from, in the order of merging: what comes later\n" +
			"wins, key by key. After the files comes the environment: BLUFIO_GATEWAY__LISTEN\n" +
			"sets gateway.listen.",
		Example: "  blufio config path\n  ${EDITOR:-vi} \"$(blufio config path --json | jq -r '.[-1].path')\"",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			files := a.lookForFiles()
			if a.json {
				return a.printJSON(files)
			}
			var rows [][]string
			for _, f := range files {
				state := "missing"
				if f.Exists {
					state = "exists"
				}
				rows = append(rows, []string{f.Path, state})
			}
			return a.print(table(rows))
		},
	}
}

func (a *app) lookForFiles() []configFile {
	var files []configFile
	for _, path := range a.configFiles() {
		_, err := os.Stat(path)
		files = append(files, configFile{Path: path, Exists: err == nil})
	}
	return files
}

func (a *app) configSetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "set",
		Short: "Not there: configuration is a file that people edit",
		Long: "There is no command that changes the configuration: it is a file that people edit,\n" +
			"with comments that a program would lose. This one names the file.",
		Example: "  ${EDITOR:-vi} \"$(blufio config path --json | jq -r '.[-1].path')\"",
		Hidden:  true,
		RunE: func(*cobra.Command, []string) error {
			return fail(exitUsage, "edit "+a.fileToEdit()+" and check it with `blufio config validate`", "there is no `blufio config set`")
		},
	}
}

// fileToEdit is the last file that exists, since it wins; without any, the last one
// that would be read.
func (a *app) fileToEdit() string {
	files := a.lookForFiles()
	for i := len(files) - 1; i >= 0; i-- {
		if files[i].Exists {
			return files[i].Path
		}
	}
	return files[len(files)-1].Path
}
