// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

func (a *app) serveCommand() *cobra.Command {
	var set []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the agent, in the foreground, until it is told to stop",
		Long: "Run the agent in the foreground until SIGINT or SIGTERM: then it finishes what it\n" +
			"began, for at most daemon.drain_timeout. A second signal ends it at once; what was\n" +
			"accepted is stored and taken up at the next start. SIGHUP reads the configuration\n" +
			"again, as `blufio config reload` does. It runs without configuration.\n\n" +
			"Exit code 0: asked to stop; 65: the database is of a newer version; 75: another\n" +
			"daemon holds the data directory; 77: device key or file permissions; 78: configuration.",
		Example: "  blufio serve\n" +
			"  blufio serve --data-dir ./data --set gateway.listen=127.0.0.1:8080\n" +
			"  BLUFIO_LOG__LEVEL=debug blufio serve",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			values, err := keyValues(cmd, set)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), values)
		},
	}
	cmd.Flags().StringArrayVar(&set, "set", nil, "set a configuration `KEY=VALUE`, over files and environment (repeatable)")
	_ = cmd.RegisterFlagCompletionFunc("set", a.completeSetting) // the flag is there
	return cmd
}

// completeSetting offers the keys of the configuration, then the values of a key that
// has a closed list of them.
func (a *app) completeSetting(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	_, loaded, err := serve.Load(a.sources(nil))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []string
	if key, _, ok := strings.Cut(typed, "="); ok {
		for _, value := range loaded.Choices(key) {
			found = append(found, key+"="+value)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
	for _, key := range loaded.Keys() {
		found = append(found, key+"=")
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// keyValues splits the values of --set.
func keyValues(cmd *cobra.Command, set []string) (map[string]string, error) {
	values := make(map[string]string, len(set))
	for _, s := range set {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return nil, misuse(cmd, "--set %q is not KEY=VALUE", s)
		}
		values[key] = value
	}
	return values, nil
}

// serve runs the daemon and turns its end into an exit code.
func (a *app) serve(ctx context.Context, set map[string]string) error {
	started := a.now()
	dir, err := a.data()
	if err != nil {
		return err
	}
	cfg, loaded, err := serve.Load(a.sources(set))
	if err != nil {
		return serveFailure(err)
	}
	program, _ := os.Executable() // without it no backup is tried
	redactor := serve.Redactor(cfg, a.environ)
	plain, level := a.logger(cfg.Log)
	log := redactor.Logger(plain)
	return a.untilToldTwice(ctx, log, func(ctx context.Context, reload <-chan struct{}) error {
		err := serve.Run(ctx, serve.Options{
			Config: cfg, Sources: a.sources(set), Loaded: loaded, Environ: a.environ, DataDir: dir, Version: buildInfo().Version, Logger: log, Redactor: redactor, Now: a.now, Program: program,
			Reload: reload, SetLogLevel: func(name string) { level.Set(logLevel(name)) },
			Ready: func(info serve.Info) { a.welcome(log, info, dir, a.now().Sub(started)) },
		})
		return serveFailure(inShort(log, redactor, err))
	})
}

// inShort leaves the details of an error, such as the stack of a panic, to the log and
// keeps its first line, without secrets, for the person who started the daemon.
func inShort(log *slog.Logger, redactor *config.Redactor, err error) error {
	if err == nil {
		return nil
	}
	text := redactor.Redact(err.Error())
	if text == err.Error() && errors.As(err, new(config.Problems)) { // each has a line of its own
		return err
	}
	first, rest, _ := strings.Cut(text, "\n")
	switch {
	case rest != "":
		log.Error("the daemon failed", "err", err)
	case text == err.Error():
		return err
	}
	return &shortError{text: first, err: err}
}

// shortError says less than the error it stands for, and is the same to errors.Is.
type shortError struct {
	text string
	err  error
}

func (e *shortError) Error() string { return e.text }
func (e *shortError) Unwrap() error { return e.err }

func serveFailure(err error) error {
	if err == nil {
		return nil
	}
	return &failure{code: serve.ExitCode(err), err: err, hint: serve.Hint(err)}
}

// untilToldTwice runs run. The first signal ends its context; a second one is not
// waited for, and the process ends with run still at work. SIGHUP is handed on to run.
func (a *app) untilToldTwice(ctx context.Context, log *slog.Logger, run func(ctx context.Context, reload <-chan struct{}) error) error {
	signals, stop := listen(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	reload := make(chan struct{}, 1)
	go func() { done <- run(ctx, reload) }()
	var began time.Time
	for told := false; ; {
		select {
		case err := <-done:
			if told {
				log.Info("stopped", "took", a.now().Sub(began).Round(time.Millisecond).String())
			}
			return err
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				select {
				case reload <- struct{}{}:
				default: // one is waiting, and will read the same
				}
			case told:
				return fail(exitFailed, "what was accepted is stored and is taken up at the next start", "ended at once by a second signal")
			default:
				told, began = true, a.now()
				log.Info("stopping; a second signal ends at once", "signal", s.String())
				cancel()
			}
		}
	}
}

// welcome says that the daemon is ready: to a person where to go from here, to a log
// the same as facts.
func (a *app) welcome(log *slog.Logger, info serve.Info, dir string, took time.Duration) {
	log.Info("ready", "version", info.Version, "gateway", info.Gateway, "bus", info.Bus, "data", dir, "took", took.Round(time.Millisecond).String())
	u := a.ui(a.err)
	if !u.tty {
		return
	}
	a.note("\n%s %s is ready (%d ms)\n\n%s\n%s", u.ok(), u.bold("blufio "+info.Version), took.Milliseconds(),
		table([][]string{
			{"  " + u.dim("gateway"), info.Gateway},
			{"  " + u.dim("bus"), info.Bus},
			{"  " + u.dim("data"), dir},
		}),
		table([][]string{
			{"  " + u.dim("try"), "blufio send \"hello\""},
			{"", "blufio status --watch"},
			{"  " + u.dim("stop"), "Ctrl-C"},
		}))
}
