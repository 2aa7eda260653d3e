// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"path/filepath"

	"github.com/blufio/blufio/services/backup"
	"github.com/blufio/blufio/services/config"
)

// NotApart are the problems of a configuration on a data directory in which the agent's tools
// reach what they should not: they could read and delete the backups, or the keys.
func NotApart(c Config, loaded *config.Loaded, dataDir string) (problems config.Problems) {
	c.apart(dataDir, func(key, message, hint string) {
		p := config.Problem{Key: key, Message: message, Hint: hint, Origin: config.Origin{Source: config.FromDefault}}
		if loaded != nil {
			p.Origin = loaded.Origin(key)
		}
		problems = append(problems, p)
	})
	return problems
}

// apart reports them; without a data directory, what is known without one.
func (c Config) apart(dataDir string, report func(key, message, hint string)) {
	workspace, backups := c.Tools.Workspace, c.Backup.Dir
	if dataDir != "" {
		workspace, backups = c.workspace(dataDir), c.Backup.Directory(dataDir)
		if backup.Within(dataDir, workspace) {
			report("tools.workspace", "the data directory "+dataDir+" is in "+workspace+", so the agent's tools could read its keys", "name a directory for the agent's files alone")
			return
		}
	}
	switch {
	case !filepath.IsAbs(workspace) || !filepath.IsAbs(backups): // not named, or refused by its section
	case backup.Within(backups, workspace):
		report("backup.dir", backups+" is in the workspace "+workspace+", so the agent's tools could read and delete the backups", "name a directory that is not in tools.workspace")
	case backup.Within(workspace, backups):
		report("tools.workspace", workspace+" is in "+backups+", where the backups are", "name a directory for the agent's files alone")
	}
}

// workspace is where the agent's files are.
func (c Config) workspace(dataDir string) string {
	if c.Tools.Workspace != "" {
		return c.Tools.Workspace
	}
	return filepath.Join(dataDir, "workspace")
}
