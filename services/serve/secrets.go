// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/openai"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/vault"
)

// SecretKeys lists the keys of the configuration whose values are secrets.
func SecretKeys() []string { return config.SecretKeys(Defaults()) }

// MissingKeys are the problems of a configuration that names models whose keys it has
// not: neither itself nor, by the names given, in the vault.
func MissingKeys(c Config, loaded *config.Loaded, vaulted []string) (missing config.Problems) {
	told := map[string]bool{}
	for _, e := range c.named(func(string, string, string) {}) { // Check has reported the rest
		name, key := e.maker.name, e.maker.name+".api_key"
		if !e.maker.needs || !e.maker.key.IsZero() || told[name] || slices.Contains(vaulted, key) {
			continue
		}
		told[name] = true
		p := config.Problem{Key: key, Message: "the provider " + name + " needs a key", Hint: "`blufio config set-secret " + key + "` keeps one in the vault",
			Origin: config.Origin{Source: config.FromDefault}}
		if loaded != nil {
			p.Origin = loaded.Origin(e.key)
		}
		if name == openai.Name {
			p.Hint += "; or set openai.base_url to a model of your own"
		}
		missing = append(missing, p)
	}
	return missing
}

// SecretsInFiles are warnings about secrets that stand in a file in clear. They work.
func SecretsInFiles(loaded *config.Loaded, vaulted []string) (warnings config.Problems) {
	for _, key := range loaded.SecretsInFiles() {
		p := config.Problem{Key: key, Origin: loaded.Origin(key), Message: fmt.Sprintf("%q is a secret and stands here in clear", key),
			Hint: "put it into the vault with `blufio config set-secret " + key + "`, then delete the line"}
		if slices.Contains(vaulted, key) {
			p.Message, p.Hint = p.Message+", while the vault has one that counts more", "delete the line"
		}
		warnings = append(warnings, p)
	}
	return warnings
}

// pinned says what of a secret's sources counts more than the vault, "" when nothing
// does.
func (o Options) pinned(key string, s config.Secret) string {
	if s.IsZero() {
		return ""
	}
	if o.Loaded == nil {
		return "the configuration"
	}
	if at := o.Loaded.Origin(key); at.Source == config.FromEnv || at.Source == config.FromFlag {
		return at.String()
	}
	return ""
}

// openVault opens the vault of a daemon, and gives the configuration with its secrets
// bound to it.
func (o Options) openVault(ctx context.Context, store *sqlite.Store, events *eventlog.Log) (*vault.Vault, Config, error) {
	v, c, err := o.bind(ctx, store, events)
	if err != nil {
		return nil, c, err
	}
	if missing := MissingKeys(c, o.Loaded, nil); len(missing) > 0 {
		return nil, c, missing
	}
	if o.Loaded != nil {
		for _, w := range Useless(o.Config, o.Loaded) {
			o.Logger.Warn("setting without effect", "at", w.Origin.String(), "err", w.Message, "hint", w.Hint)
		}
		for _, w := range SecretsInFiles(o.Loaded, v.Names()) {
			o.Logger.Warn("secret in the clear", "at", w.Origin.String(), "err", w.Message, "hint", w.Hint)
		}
	}
	return v, c, nil
}

// bind opens the vault and makes the secrets of the configuration live, except those
// that count more than it.
func (o Options) bind(ctx context.Context, store *sqlite.Store, events *eventlog.Log) (*vault.Vault, Config, error) {
	c := o.Config
	if o.Redactor == nil {
		o.Redactor = Redactor(c, o.Environ)
	}
	v, err := vault.Open(ctx, vault.Deps{Store: store, Events: events, Sources: vault.SourcesOf(o.Environ, o.DataDir),
		Logger: o.Logger, Now: o.Now, Check: checkSecret, Look: o.look,
		Known: func(s config.Secret) { learn(o.Redactor, "a secret of the vault", s, o.Logger) }})
	if err != nil {
		return nil, c, err
	}
	err = config.Bind(&c, func(key string, s config.Secret) config.Secret {
		if by := o.pinned(key, s); by != "" {
			v.Override(key, by)
			return s
		}
		return v.Secret(key, s)
	})
	return v, c, err
}

// early refuses a configuration that no vault can help, before anything is made.
func (o Options) early() error {
	if o.Loaded != nil {
		if problems := o.Loaded.CheckFiles(); len(problems) > 0 {
			return problems
		}
	}
	if problems := NotApart(o.Config, o.Loaded, o.DataDir); len(problems) > 0 {
		return problems
	}
	if _, err := os.Stat(databasePath(o.DataDir)); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if missing := MissingKeys(o.Config, o.Loaded, nil); len(missing) > 0 {
		return missing
	}
	return nil
}

// checkSecret asks the section that a secret belongs to what it thinks of a value.
func checkSecret(name string, s config.Secret) error {
	if !slices.Contains(SecretKeys(), name) {
		return nil
	}
	var problems config.Problems
	if _, _, err := Load(config.Sources{Flags: map[string]string{name: s.Reveal()}}); err != nil && !errors.As(err, &problems) {
		return err
	}
	for _, p := range problems {
		if p.Key == name {
			return bus.Errorf(bus.CodeInvalid, "%s", p.Message).WithHint("%s", p.Hint)
		}
	}
	return nil
}

// UnreadableSecrets names the secrets that are kept and cannot be read, as a daemon of this
// environment would find them. It changes nothing.
func UnreadableSecrets(ctx context.Context, o Options) (names []string, err error) {
	store, err := sqlite.Open(ctx, sqlite.Options{Path: databasePath(o.DataDir), ReadOnly: true, Readers: 1, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	v, err := vault.Open(ctx, vault.Deps{Store: store, Sources: vault.SourcesOf(o.Environ, o.DataDir), Look: true, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	v.Unlock(ctx)
	return v.List().Unreadable(), nil
}

// SecretNames reads the names of the secrets without a daemon and without writing
// anything. Without a database the error is fs.ErrNotExist.
func SecretNames(ctx context.Context, dataDir string, logger *slog.Logger) ([]string, error) {
	path := databasePath(dataDir)
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path, ReadOnly: true, Readers: 1, Logger: logger})
	if err != nil {
		return nil, err
	}
	names, err := vault.Names(ctx, store)
	return names, errors.Join(err, store.Close())
}
