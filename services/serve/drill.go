// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/vault"
)

// Drill is a backup that is restored on trial, in a directory of its own.
type Drill struct {
	Restored Restored
	Config   string // what is wrong with the configuration in it; "" is nothing
	Tried    bool   // the secrets, with the key that was given

	scratch *scratch
	keys    *scratch // what the vault is locked with, for a moment; nil: nothing was lent
	dir     string
	rows    map[string]int64
}

// BeginDrill makes a directory beside the archive, or where that may not be written in the
// system's one for such, and restores the archive there. key is a file with what the
// vault is locked with, "" to leave the secrets alone. End removes it all.
func BeginDrill(ctx context.Context, a *Archive, key string, now func() time.Time) (_ *Drill, err error) {
	const pattern = ".blufio-drill-*"
	d := &Drill{rows: a.Manifest().Rows}
	beside, err := filepath.Abs(filepath.Dir(a.Path()))
	if err != nil {
		return nil, err
	}
	if d.scratch, err = newScratch(beside, pattern); err != nil {
		if d.scratch, err = newScratch(os.TempDir(), pattern); err != nil {
			return nil, err
		}
	}
	d.dir = d.scratch.path
	defer func() {
		if err != nil {
			err = errors.Join(err, d.End())
		}
	}()
	environ, err := d.lend(key, a.Manifest().Vault.Source)
	if err != nil {
		return nil, fmt.Errorf("read the vault's key: %w", err)
	}
	o := RestoreOptions{DataDir: d.DataDir(), Environ: environ, keyDir: d.keyDir(), Hold: true, Logger: slog.New(slog.DiscardHandler), Now: now}
	if d.Restored, err = Restore(ctx, o, a); err != nil {
		return nil, err
	}
	if err := d.takeBack(); err != nil {
		return nil, err
	}
	return d, d.prepare()
}

// DataDir is the second daemon's.
func (d *Drill) DataDir() string { return filepath.Join(d.dir, "data") }

// ConfigFile is the second daemon's configuration.
func (d *Drill) ConfigFile() string { return filepath.Join(d.dir, "drill.toml") }

// Home is for the second daemon to write what it wants.
func (d *Drill) Home() string { return d.dir }

// End removes everything.
func (d *Drill) End() error { return errors.Join(d.takeBack(), d.scratch.remove()) }

// lend puts what the vault is locked with where the restore looks for it, which is not where
// the archive lies: the two are kept apart.
func (d *Drill) lend(key, source string) (environ []string, err error) {
	if err := os.Mkdir(d.DataDir(), 0o700); err != nil || key == "" {
		return nil, err
	}
	d.Tried = true
	text, err := os.ReadFile(key)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if source == bus.KeyPassphrase {
		return []string{vault.PassphraseVariable + "=" + strings.TrimRight(string(text), "\r\n")}, nil
	}
	if d.keys, err = newScratch(os.TempDir(), ".blufio-key-*"); err != nil {
		return nil, err
	}
	name := "vault.key"
	if source == bus.KeyCredential {
		name, environ = "vault-key", []string{"CREDENTIALS_DIRECTORY=" + d.keys.path}
	}
	return environ, os.WriteFile(filepath.Join(d.keys.path, name), text, 0o600)
}

// keyDir is where the restore looks for the file that the vault is locked with.
func (d *Drill) keyDir() string {
	if d.keys == nil {
		return ""
	}
	return d.keys.path
}

// takeBack keeps the vault's key from the second daemon: with the secrets it could speak
// to the world as the first one does.
func (d *Drill) takeBack() error {
	if d.keys == nil {
		return nil
	}
	err := d.keys.remove()
	d.keys = nil
	return err
}

// drillSettings keep the second daemon to itself.
const drillSettings = `[agent]
provider = "offline"
[gateway]
listen = "127.0.0.1:0"
[bus]
listen = "127.0.0.1:0"
events_mb = 8
[backup]
every = "0s"
drill_every = "0s"
[daemon]
node = "drill"
`

// prepare writes the second daemon's configuration, and tries the archive's.
func (d *Drill) prepare() error {
	var files []string
	for _, name := range d.Restored.Config {
		files = append(files, filepath.Join(d.Restored.ConfigDir, name))
	}
	if len(files) > 0 {
		_, _, err := Load(config.Sources{Files: files, Required: true})
		var problems config.Problems
		switch {
		case errors.As(err, &problems):
			d.Config = problems[0].Message
		case err != nil:
			d.Config = err.Error()
		}
	}
	return os.WriteFile(d.ConfigFile(), []byte(drillSettings), 0o600)
}

// facts are the tables that facts about people lie in, or lay in: a start hands some of them
// over from one to the next, where those that say the same become one.
var facts = []string{"note", "fact", "recall_entry"}

// lasting are the tables of which a start takes nothing away.
var lasting = []string{"vault_key", "vault_secrets", "bus_keys", "gateway_tokens", "cost_day", "telegram_moved"}

// Check looks at the database once the second daemon is done with it: nothing is damaged,
// and nothing is gone that should last.
func (d *Drill) Check(ctx context.Context) error {
	path := databasePath(d.DataDir())
	if err := emptyLog(ctx, path); err != nil {
		return err
	}
	c, err := sqlite.Check(ctx, path)
	if err == nil {
		err = c.Err()
	}
	if err != nil {
		return err
	}
	var gone []string
	if had, has := sum(d.rows, facts), sum(c.Rows, facts); had > 0 && has == 0 {
		gone = append(gone, fmt.Sprintf("there were %d facts about people, and are none", had))
	}
	for _, table := range lasting {
		if had, has := d.rows[table], c.Rows[table]; has < had {
			gone = append(gone, fmt.Sprintf("%s has %d rows of %d", table, has, had))
		}
	}
	if len(gone) > 0 {
		slices.Sort(gone)
		return fmt.Errorf("something is gone after a start: %s", strings.Join(gone, ", "))
	}
	return nil
}

func sum(rows map[string]int64, tables []string) (n int64) {
	for _, t := range tables {
		n += rows[t]
	}
	return n
}
