// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/blufio/blufio/services/config"
)

// Where a package puts things.
const (
	systemConfig = "/etc/blufio/blufio.toml"
	systemData   = "/var/lib/blufio"
	systemRun    = "/run"
)

// data returns the data directory: the flag (or BLUFIO_DATA_DIR), what systemd
// says, the package's if it exists, the user's own. It need not exist.
func (a *app) data() (string, error) {
	if a.dataDir != "" {
		if info, err := os.Stat(a.dataDir); err == nil && !info.IsDir() {
			return "", fail(exitUsage, "name a directory with --data-dir, or leave it out", "%s is not a directory", a.dataDir)
		}
		return filepath.Abs(a.dataDir)
	}
	if dirs := a.getenv("STATE_DIRECTORY"); dirs != "" {
		first, _, _ := strings.Cut(dirs, ":") // systemd lists all of a unit's
		return first, nil
	}
	if info, err := os.Stat(systemData); err == nil && info.IsDir() {
		return systemData, nil
	}
	base := a.userDir("XDG_DATA_HOME", ".local/share")
	if base == "" {
		return "", fail(exitUsage, "name one with --data-dir DIR", "no data directory: neither HOME nor XDG_DATA_HOME is set")
	}
	return filepath.Join(base, "blufio"), nil
}

// configFiles lists the configuration files in the order of merging, whether they
// exist or not.
func (a *app) configFiles() []string {
	if a.configFile != "" {
		return []string{a.configFile}
	}
	files := []string{systemConfig}
	if base := a.userDir("XDG_CONFIG_HOME", ".config"); base != "" {
		files = append(files, filepath.Join(base, "blufio", "blufio.toml"))
	}
	return files
}

// userDir is one of the XDG base directories, "" when there is no home either.
// A relative path in the variable is to be ignored, says the XDG specification.
func (a *app) userDir(variable, below string) string {
	if dir := a.getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	if home := a.getenv("HOME"); home != "" {
		return filepath.Join(home, below)
	}
	return ""
}

// sources is where the configuration comes from; set are the KEY=VALUE flags.
func (a *app) sources(set map[string]string) config.Sources {
	return config.Sources{
		Files: a.configFiles(), Required: a.configFile != "",
		Environ: a.environ, Prefix: "BLUFIO_", Flags: set,
	}
}
