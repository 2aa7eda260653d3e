// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/config"
)

// notMine reports that a file may be of use to the daemon's user, though not to this one.
func notMine(_ *config.Loaded, p config.Problem) bool {
	return errors.Is(config.Problems{p}, fs.ErrPermission)
}

// files are those that the configuration was read from, wherever somebody stands.
func (o Options) files() []string {
	all := []string{}
	if o.Loaded == nil {
		return nil
	}
	for _, name := range o.Loaded.Files() {
		if full, err := filepath.Abs(name); err == nil {
			name = full
		}
		all = append(all, name)
	}
	return all
}

// otherConfig is for who names a file while a daemon runs with another one: that daemon
// judges its own.
func (e Exam) otherConfig() []services.Probe {
	return []services.Probe{{
		ID: "BLF-CFG-005", Title: "A file named with --config is the one in force", Place: services.Outside,
		Why: "a daemon that runs is asked about what it has read, not about another file",
		Fix: "leave --config and BLUFIO_CONFIG out to ask about the daemon's, or start it with this file: `blufio serve --config FILE`",
		Run: e.judgeOther,
	}}
}

// judgeOther makes of it what the daemon would make of its own.
func (e Exam) judgeOther(ctx context.Context) services.Result {
	switch {
	case !e.Sources.Required:
		return services.Skip("none is named")
	case !e.Live:
		return services.Skip("no daemon answers: see BLF-CFG-001")
	case slices.ContainsFunc(e.Daemon.Config, func(name string) bool { return sameFile(name, e.Sources.Files[0]) }):
		return services.OK("%s", e.Sources.Files[0])
	}
	vaulted := func() ([]string, error) { return e.Vaulted(ctx) }
	r := validity(e.Sources, e.DataDir, vaulted, notMine)
	for _, look := range []func() services.Result{func() services.Result { return secrecy(e.Sources) }, func() services.Result { return clarity(e.Sources, vaulted) }} {
		if r.Level == bus.LevelOK {
			if closer := look(); closer.Level != bus.LevelOK {
				r = closer
			}
		}
	}
	if r.Level != bus.LevelOK {
		r.Seen += "; in force is " + e.inForce()
		return r
	}
	return services.Info("%s is valid, and not in force: that is %s", e.Sources.Files[0], e.inForce())
}

func (e Exam) inForce() string {
	switch {
	case e.Daemon.Config == nil:
		return "what the daemon does not tell, being of another version"
	case len(e.Daemon.Config) == 0:
		return "no file: the daemon found none at its start"
	}
	return strings.Join(e.Daemon.Config, ", ")
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		full, err := filepath.Abs(b)
		return err == nil && a == full
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
