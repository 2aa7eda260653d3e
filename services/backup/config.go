// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/backup/archive"
)

// Config is the section [backup].
type Config struct {
	Every            time.Duration `koanf:"every" min:"0s" max:"8760h" doc:"How often the daemon makes a backup by itself; \"0s\" is never."`
	Dir              string        `koanf:"dir" doc:"Directory for them, as an absolute path; empty is \"backups\" in the data directory. Old ones of this daemon in it are deleted, whoever put them there: those of its name, and in \"backups\" also those that it made under another and did not encrypt."`
	KeepDaily        int           `koanf:"keep_daily" min:"1" max:"1000" doc:"For how many days the newest backup of each is kept."`
	KeepWeekly       int           `koanf:"keep_weekly" min:"0" max:"1000" doc:"For how many weeks the newest backup of each is kept."`
	KeepMonthly      int           `koanf:"keep_monthly" min:"0" max:"1000" doc:"For how many months the newest backup of each is kept."`
	KeepReplaced     int           `koanf:"keep_replaced" min:"1" max:"100" doc:"How many directories of files that a restore has replaced (pre-restore-…) are kept, the newest ones; others are deleted once they are a week old."`
	DrillEvery       time.Duration `koanf:"drill_every" min:"0s" max:"8760h" doc:"How often a second daemon is started on a backup, to see that it restores; \"0s\" is never. Encrypted backups cannot be drilled here."`
	After            []string      `koanf:"after" doc:"Command that sends a backup away, such as [\"rclone\", \"copyto\"]: its arguments, and the backup's path behind them. Empty: none."`
	AfterTimeout     time.Duration `koanf:"after_timeout" min:"1s" max:"24h" doc:"How long that command may take."`
	Recipients       []string      `koanf:"recipients" doc:"Public keys of age (\"age1…\") that the daemon's own backups are encrypted to. Empty: not encrypted; the vault in them always is."`
	IncludeWorkspace bool          `koanf:"include_workspace" doc:"Put the files of the agent's workspace into the daemon's own backups."`
}

// Defaults are a backup a day, kept for a week, a month and half a year, and a drill a week.
func Defaults() Config {
	return Config{Every: 24 * time.Hour, KeepDaily: 7, KeepWeekly: 4, KeepMonthly: 6, KeepReplaced: 2, DrillEvery: 7 * 24 * time.Hour,
		After: []string{}, AfterTimeout: 10 * time.Minute, Recipients: []string{}}
}

// shortest is the shortest time between two backups: each costs a pass over the database.
const shortest = time.Minute

// Check reports what no backup can be made with.
func (c Config) Check(report func(key, message, hint string)) {
	if c.Every != 0 && c.Every < shortest {
		report("every", fmt.Sprintf("must be at least %d minute, or \"0s\" for never", shortest/time.Minute), `write it like "1h"; to copy every change as it is made there is contrib/litestream`)
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		report("dir", fmt.Sprintf("%q is not an absolute path", c.Dir), `write it like "/var/backups/blufio"`)
	}
	if len(c.After) > 0 && strings.TrimSpace(c.After[0]) == "" {
		report("after", "names no command", `write it like ["rclone", "copyto"]`)
	}
	if len(c.Recipients) > bus.MaxBackupRecipients {
		report("recipients", fmt.Sprintf("are more than %d", bus.MaxBackupRecipients), "")
	}
	if _, err := archive.ParseRecipients(c.Recipients); err != nil {
		report("recipients", err.Error(), "`age-keygen` prints one; the key behind it is what restores")
	}
}
