// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/blufio/blufio/bus/embedded"
)

// door lets a group of people operate the daemon. systemd makes a directory for a
// service, /run/blufio of the packaged one, that members of its group may enter. There
// lie, while the daemon runs, where it is reached and a key as good as the device
// key, made for this run. The data directory stays closed.
type door struct {
	dir string
	key *embedded.Device // nil: there is no door
}

// OperatorKey is the file of the key in the runtime directory dir.
func OperatorKey(dir string) string { return filepath.Join(dir, "operator.creds") }

// RuntimeDir is the first of the directories that systemd has made for this service in
// /run, by its environment; "" where it has not.
func RuntimeDir(environ []string) string {
	for _, line := range environ {
		if dirs, ok := strings.CutPrefix(line, "RUNTIME_DIRECTORY="); ok {
			first, _, _ := strings.Cut(dirs, ":")
			return first
		}
	}
	return ""
}

// openDoor makes the key. Without a door the daemon runs all the same.
func (o Options) openDoor() door {
	d := door{dir: RuntimeDir(o.Environ)}
	if d.dir == "" {
		return d
	}
	key, err := embedded.NewOperator(OperatorKey(d.dir))
	if err != nil {
		o.Logger.Warn("only its owner and root can operate the daemon", "err", err)
		return d
	}
	o.learnDevice(key)
	d.key = key
	return d
}

// tell says where the daemon is reached.
func (d door) tell(o Options, info Info) {
	if d.key == nil {
		return
	}
	if err := writeInfoAs(d.dir, info, 0o640); err != nil {
		o.Logger.Warn("only its owner and root can operate the daemon", "err", err)
	}
}

// close takes away what the door is made of.
func (d door) close() error {
	if d.key == nil {
		return nil
	}
	err := os.Remove(OperatorKey(d.dir))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, removeInfo(d.dir))
}
