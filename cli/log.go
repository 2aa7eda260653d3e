// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/spf13/cobra"
)

func (a *app) logCommand() *cobra.Command {
	cmd := group("log", "How much the running daemon logs", "  blufio log level\n  blufio log level debug --for 10m", a.logLevelCommand())
	cmd.Long = "How much the running daemon logs. The log itself is on the daemon's stderr: under\n" +
		"systemd `journalctl -u blufio` shows it."
	return cmd
}

func (a *app) logLevelCommand() *cobra.Command {
	var text string
	cmd := &cobra.Command{
		Use:   "level [debug|info|warn|error]",
		Short: "Show the level of the log, or change it for a while",
		Long: "Show the level of the running daemon's log, or change it until the time is over, the\n" +
			"configuration is read again or the daemon ends: the configuration stays as it is, and\n" +
			"log.level in it is what lasts. From info on the log has no text of messages; at debug\n" +
			"it may.",
		Example: "  blufio log level\n  blufio log level debug --for 10m\n  blufio log level info",
		Args:    atMostOne("level"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s bus.LogSetting
			if len(args) > 0 {
				s.Level = args[0]
			}
			if cmd.Flags().Changed("for") {
				d, err := config.ParseDuration(text)
				if err != nil || d < time.Second {
					return misuse(cmd, "--for %q is not a duration of a second or more", text)
				}
				if s.Level == "" {
					return misuse(cmd, "--for needs a level")
				}
				s.Seconds = int64(d / time.Second)
			}
			return a.logLevel(cmd.Context(), s)
		},
		ValidArgsFunction: cobra.FixedCompletions(bus.LogLevels(), cobra.ShellCompDirectiveNoFileComp),
	}
	cmd.Flags().StringVar(&text, "for", "", "how long it holds: a `DURATION` such as 10m or 2h")
	return cmd
}

func (a *app) logLevel(ctx context.Context, s bus.LogSetting) error {
	l, err := ask(ctx, a, bus.LogSet, s)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(l)
	}
	text := "log level " + line(l.Level)
	if l.Until != nil {
		text += ", until " + l.Until.Local().Format("2006-01-02 15:04:05")
	}
	if l.Level != l.Configured {
		text += fmt.Sprintf(" (log.level is %s)", line(l.Configured))
	}
	return a.print(a.ui(a.out).ok() + " " + text + "\n")
}
