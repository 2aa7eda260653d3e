// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"errors"
	"io/fs"

	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/backup/archive"
	"github.com/blufio/blufio/services/channel/gateway"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/hooks"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Exit codes of `blufio serve` beside 0 and 1; the numbers are those of BSD's
// sysexits.h that come nearest.
const (
	ExitNewer  = 65 // the database was written by a newer version
	ExitLocked = 75 // another daemon holds the data directory
	ExitKey    = 77 // the device key or the mode of its files
	ExitConfig = 78 // the configuration
)

// ExitCode is the process's exit code for an error of [Run] or [Load].
func ExitCode(err error) int {
	var newer *sqlite.NewerError
	var locked *LockedError
	var key *embedded.KeyError
	var problems config.Problems
	var refused *gateway.ConfigError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &newer):
		return ExitNewer
	case errors.As(err, &locked):
		return ExitLocked
	case errors.As(err, &problems) && errors.Is(err, fs.ErrNotExist): // a file that is named there, a key perhaps
		return ExitConfig
	case errors.As(err, &key), errors.Is(err, fs.ErrPermission):
		return ExitKey
	case errors.As(err, &problems), errors.As(err, &refused):
		return ExitConfig
	}
	return 1
}

// Hint says what to do about an error of [Run] or [Load], "" when nothing more
// is known.
func Hint(err error) string {
	var newer *sqlite.NewerError
	var locked *LockedError
	var key *embedded.KeyError
	var refused *gateway.ConfigError
	var hook *hooks.Error
	switch {
	case errors.As(err, &hook):
		return hook.Hint()
	case errors.As(err, &key):
		return key.Fix
	case errors.As(err, &refused):
		return refused.Hint
	case errors.As(err, &newer):
		return newer.Hint()
	case errors.As(err, &locked):
		return "stop it first, or use another --data-dir; `blufio status` shows the one that runs"
	case errors.Is(err, sqlite.ErrNotBlufio):
		return "move the file away or use another --data-dir"
	case errors.Is(err, sqlite.ErrCorrupt):
		return "keep the file and restore a backup; without one, move it away to start empty"
	case errors.Is(err, sqlite.ErrFull):
		return "free some disk space"
	case errors.Is(err, archive.ErrSpace):
		return "free some disk space"
	case errors.Is(err, archive.ErrEncrypted):
		return "name the file with its key: --identity FILE"
	case errors.Is(err, archive.ErrNewer):
		return "install the newer blufio"
	case errors.Is(err, archive.ErrDamaged):
		return "take another one; `blufio backup list` names those that there are"
	case errors.Is(err, archive.ErrNotArchive):
		return "name a file that `blufio backup` has made"
	case errors.Is(err, embedded.ErrPortInUse):
		return "set bus.listen to another port, or to 127.0.0.1:0 for any free one"
	case errors.Is(err, gateway.ErrPortInUse):
		return "set gateway.listen to another port, or to 127.0.0.1:0 for any free one"
	case errors.Is(err, fs.ErrPermission):
		return "run it as the owner of the data directory"
	}
	return ""
}
