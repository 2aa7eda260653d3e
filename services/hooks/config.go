// SPDX-License-Identifier: MIT OR Apache-2.0

package hooks

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/blufio/blufio/services/internal/command"
)

// Config is the section [hooks]. Each is a program and its arguments; empty is none.
type Config struct {
	PreStart    []string      `koanf:"pre_start" doc:"Before the database is opened; unless it exits with 0 the daemon does not start."`
	PostStart   []string      `koanf:"post_start" live:"true" doc:"When everything is up."`
	PreStop     []string      `koanf:"pre_stop" doc:"When the daemon was asked to stop and still takes messages."`
	PostStop    []string      `koanf:"post_stop" doc:"When everything is closed."`
	PreBackup   []string      `koanf:"pre_backup" live:"true" doc:"Before a backup; unless it exits with 0 none is made."`
	PostBackup  []string      `koanf:"post_backup" live:"true" doc:"After a backup, also one that failed."`
	OnAlert     []string      `koanf:"on_alert" live:"true" doc:"When a budget is spent, a channel or provider is down, memory runs short, a message or reply is given up, a backup failed, a room was restarted, or the daemon's health got worse. The event comes on standard input, as JSON."`
	Timeout     time.Duration `koanf:"timeout" live:"true" min:"1s" max:"10m" doc:"Longest time for one program; then it is killed, with all that it started."`
	StopTimeout time.Duration `koanf:"stop_timeout" min:"100ms" max:"1m" doc:"The same for pre_stop and for post_stop."`
}

// Defaults are the settings of a fresh install: no hooks.
func Defaults() Config { return Config{Timeout: 30 * time.Second, StopTimeout: 2 * time.Second} }

// Moments of a daemon's life, in their order.
const (
	PreStart   = "pre-start"
	PostStart  = "post-start"
	PreStop    = "pre-stop"
	PostStop   = "post-stop"
	PreBackup  = "pre-backup"
	PostBackup = "post-backup"
	OnAlert    = "on-alert"
)

// moments are all.
var moments = [...]string{PreStart, PostStart, PreStop, PostStop, PreBackup, PostBackup, OnAlert}

// key is the configuration's name of a moment.
func key(moment string) string { return strings.ReplaceAll(moment, "-", "_") }

// argv is what is run then.
func (c Config) argv(moment string) []string {
	switch moment {
	case PreStart:
		return c.PreStart
	case PostStart:
		return c.PostStart
	case PreStop:
		return c.PreStop
	case PostStop:
		return c.PostStop
	case PreBackup:
		return c.PreBackup
	case PostBackup:
		return c.PostBackup
	case OnAlert:
		return c.OnAlert
	}
	return nil
}

// timeout is how long it may take.
func (c Config) timeout(moment string) time.Duration {
	if moment == PreStop || moment == PostStop {
		return c.StopTimeout
	}
	return c.Timeout
}

// Check refuses what is no program.
func (c Config) Check(report func(key, message, hint string)) {
	for _, m := range moments {
		argv := c.argv(m)
		switch {
		case len(argv) == 0:
		case argv[0] == "" || strings.ContainsRune(strings.Join(argv, ""), 0):
			report(key(m), fmt.Sprintf("%q is not a program", argv[0]), `list the program and its arguments, as ["/etc/blufio/hooks/mail-me", "me@example.org"]`)
		case strings.ContainsRune(argv[0], filepath.Separator) && !filepath.IsAbs(argv[0]):
			report(key(m), fmt.Sprintf("%q is neither a name nor a whole path", argv[0]), "name the program by its whole path")
		}
	}
}

// CheckFiles reports programs that are not on this machine.
func (c Config) CheckFiles(report func(key string, err error, hint string)) {
	for _, m := range moments {
		if argv := c.argv(m); len(argv) > 0 {
			if err := command.Runnable(argv[0]); err != nil {
				report(key(m), err, "name a program that the daemon's user may run, or take the hook out")
			}
		}
	}
}
