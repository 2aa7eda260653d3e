// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/blufio/blufio/services/serve"
)

// runtimeDir is where a daemon that systemd runs leaves its address and a key for the
// members of its group: what systemd says, or what belongs to the data directory of a
// packaged unit. "" where there is none.
func (a *app) runtimeDir(data string) string {
	if dir := serve.RuntimeDir(a.environ); dir != "" {
		return dir
	}
	if filepath.Dir(data) != filepath.Dir(systemData) {
		return ""
	}
	return filepath.Join(systemRun, filepath.Base(data))
}

// findAsMember finds the daemon of a data directory that this user may not enter; closed
// says so.
func (a *app) findAsMember(data string, closed error) (daemon, error) {
	dir := a.runtimeDir(data)
	if dir == "" {
		return daemon{}, fail(exitDenied, hintOwner, "find the daemon: %w", closed)
	}
	info, err := serve.ReadInfo(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return daemon{}, fail(exitNotRunning, "start it with `sudo systemctl start "+filepath.Base(data)+"`; one that was started by hand is reached by its owner",
			"blufio is not running as a service on %s", data)
	case errors.Is(err, fs.ErrPermission):
		group := groupOf(dir)
		return daemon{}, fail(exitDenied, fmt.Sprintf("use sudo, or join the group and log in again: sudo usermod -aG %s %s", group, a.me()),
			"the daemon on %s is operated by root and the members of the group %s: %w", data, group, closed)
	case err != nil:
		return daemon{}, fail(exitNoAnswer, "restart the daemon: it writes the file anew", "find the daemon: %w", err)
	}
	return daemon{Info: info, dir: data, key: serve.OperatorKey(dir)}, nil
}

// running reports whether a daemon holds the data directory, as far as this user can
// know.
func (a *app) running(data string) (bool, error) {
	held, err := serve.Running(data)
	if !errors.Is(err, fs.ErrPermission) {
		return held, err
	}
	switch _, err := a.findAsMember(data, err); {
	case err == nil:
		return true, nil
	default:
		return false, err
	}
}

// groupOf is the name of the group that a directory belongs to.
func groupOf(dir string) string {
	info, err := os.Stat(dir)
	if err != nil {
		return filepath.Base(dir)
	}
	id := strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Gid), 10)
	group, err := user.LookupGroupId(id)
	if err != nil {
		return id
	}
	return group.Name
}

// me is the user's name, for a command to copy.
func (a *app) me() string {
	if name := a.getenv("USER"); name != "" {
		return name
	}
	return "NAME"
}
