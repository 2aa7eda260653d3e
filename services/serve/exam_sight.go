// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/backup"
	"github.com/blufio/blufio/services/channel/telegram"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/vault"
)

// sight is what an exam without a daemon knows: the configuration as the next start
// would take it, with the secrets of the vault. Looking changes nothing.
type sight struct {
	cfg    Config
	loaded *config.Loaded
	models agent.Models
	err    error // the configuration is not valid; nothing of it is taken, for half might name the wrong server

	names   []string         // in the vault
	vault   *vault.Vault     // nil: nothing is in it, or it cannot be looked into
	store   *sqlite.Store    // of vault
	unknown string           // the check that says why nobody knows what is in the vault; "" when that is known
	secrets *config.Redactor // all that were met
}

// see reads the configuration, and opens the vault for reading. That of a daemon that
// hangs is left alone.
func (e Exam) see(ctx context.Context) *sight {
	s := &sight{}
	s.cfg, s.loaded, s.err = Load(e.Sources)
	if s.err != nil {
		s.cfg = Defaults()
	}
	s.secrets = Redactor(s.cfg, e.Sources.Environ)
	if e.Locked {
		s.unknown = reachable
	} else if err := s.open(ctx, e); err != nil {
		s.unknown = "BLF-DB-001"
	}
	if s.err == nil {
		s.models, s.err = s.cfg.models()
	}
	if missing := s.missing(); s.err == nil && len(missing) > 0 && s.unknown == "" {
		s.err = missing
	}
	return s
}

// open looks for a vault with something in it, and binds the secrets of the
// configuration to that.
func (s *sight) open(ctx context.Context, e Exam) error {
	path := databasePath(e.DataDir)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	silent := slog.New(slog.DiscardHandler)
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path, ReadOnly: true, Readers: 1, Logger: silent})
	if err != nil {
		return err
	}
	if s.names, err = vault.Names(ctx, store); err != nil || len(s.names) == 0 {
		return errors.Join(err, store.Close())
	}
	o := Options{Config: s.cfg, Loaded: s.loaded, Environ: e.Sources.Environ, DataDir: e.DataDir, Logger: silent, Redactor: s.secrets, Now: e.Now, look: true}
	v, cfg, err := o.bind(ctx, store, nil)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	s.vault, s.store, s.cfg = v, store, cfg
	return nil
}

func (s *sight) close() {
	if s.store != nil {
		_ = s.store.Close() // it was only read
	}
}

// missing are the keys that models need and nobody has, as far as is known.
func (s *sight) missing() config.Problems {
	if s.err != nil {
		return nil
	}
	return MissingKeys(s.cfg, s.loaded, s.names)
}

// vaulted is what the checks of the configuration ask.
func (s *sight) vaulted() ([]string, error) {
	if s.unknown != "" {
		return nil, errors.New("see " + s.unknown)
	}
	return s.names, nil
}

// probes are the checks of what the configuration names, and of the vault.
func (s *sight) probes(e Exam) []services.Probe {
	needs := func(all []services.Probe, secret bool) []services.Probe {
		return s.before(all, func() string {
			switch {
			case s.err != nil:
				return "see BLF-CFG-001"
			case s.unknown != "" && secret:
				return "what it needs may be in the vault: see " + s.unknown
			}
			return ""
		})
	}
	own := s.before(vault.Probes(s.vault), func() string {
		if s.unknown != "" {
			return "see " + s.unknown
		}
		return ""
	})
	return slices.Concat(needs(agent.ModelProbes(s.models, nil, e.Now), len(s.missing()) > 0),
		needs(telegram.BotProbes(s.cfg.Telegram), s.cfg.Telegram.BotToken.IsZero()),
		needs(backup.Place{Config: s.cfg.Backup, DataDir: e.DataDir, Node: node(s.cfg.Daemon.Node), Now: e.Now}.Probes(), false), own, s.budgets())
}

// budgets need nothing of the vault.
func (s *sight) budgets() []services.Probe {
	all := s.cfg.limitProbes()
	for i := range all {
		if s.err != nil {
			all[i].Run = func(context.Context) services.Result { return services.Skip("see BLF-CFG-001") }
		}
	}
	return all
}

// unlocking is how long a check may take that has to open a vault first: a passphrase costs
// a small machine a second.
const unlocking = 5 * time.Second

// before leaves checks out for a reason, if there is one, and opens the vault for the
// others. That takes a while where it is locked with a passphrase.
func (s *sight) before(all []services.Probe, reason func() string) []services.Probe {
	for i, p := range all {
		if s.vault != nil && p.Timeout == 0 {
			all[i].Timeout = unlocking
		}
		all[i].Run = func(ctx context.Context) services.Result {
			if why := reason(); why != "" {
				return services.Skip("%s", why)
			}
			if s.vault != nil {
				s.vault.Unlock(ctx)
			}
			return p.Run(ctx)
		}
	}
	return all
}
