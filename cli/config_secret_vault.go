// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
)

// withVault hands out the vault of the running daemon, or that of the data directory
// where none runs; begin says that there may be a first secret.
func (a *app) withVault(ctx context.Context, begin bool, use func(keeper) error) error {
	dir, err := a.data()
	if err != nil {
		return err
	}
	running, err := a.running(dir)
	if err != nil {
		return err
	}
	if running {
		c, err := a.dial(bus.VaultSet, bus.VaultList, bus.VaultDelete, bus.VaultRotate)
		if err != nil {
			return err
		}
		defer hangUp(ctx, c)
		return use(liveVault{c})
	}
	if _, err := serve.SecretNames(ctx, dir, slog.New(slog.DiscardHandler)); !begin && errors.Is(err, fs.ErrNotExist) {
		return use(noVault{})
	}
	if err := becomeOwner(dir); err != nil {
		return err
	}
	cfg, loaded, err := serve.Load(a.sources(nil))
	if err != nil { // it is not what this is about
		cfg, loaded = serve.Defaults(), nil
	}
	err = serve.WithVault(ctx, serve.Options{Config: cfg, Loaded: loaded, Environ: a.environ, DataDir: dir,
		Logger: slog.New(slog.DiscardHandler), Now: a.now}, a.warnFirst, func(v *serve.OfflineVault) error { return use(v) })
	var locked *serve.LockedError
	if errors.As(err, &locked) {
		return fail(exitNoAnswer, "try again in a moment", "the daemon on %s is starting or stopping", dir)
	}
	return err
}

// becomeOwner makes root the owner of the data directory, for what root wrote there
// the daemon could not read.
func becomeOwner(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) || os.Geteuid() != 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the data directory: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if owner.Uid == 0 {
		return nil
	}
	for _, step := range []error{syscall.Setgroups(nil), syscall.Setgid(int(owner.Gid)), syscall.Setuid(int(owner.Uid))} {
		if step != nil {
			return fmt.Errorf("become the owner of %s: %w", dir, step)
		}
	}
	return nil
}

// vaulted lists the names in the vault. The error is fs.ErrNotExist where there is no
// database yet.
func (a *app) vaulted(ctx context.Context) ([]string, error) {
	dir, err := a.data()
	if err != nil {
		return nil, err
	}
	running, err := a.running(dir)
	if err != nil {
		return nil, err
	}
	if !running {
		return serve.SecretNames(ctx, dir, slog.New(slog.DiscardHandler))
	}
	list, err := ask(ctx, a, bus.VaultList, bus.SecretQuery{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range list.Secrets {
		names = append(names, s.Name)
	}
	return names, nil
}

// unreadable names those of the secrets in the vault that are asked for, by their key or
// section, and cannot be read. The vault is only opened when there is one.
func (a *app) unreadable(ctx context.Context, vaulted []string, asked string) []string {
	apart := func(name string) bool { return name != asked && !strings.HasPrefix(name, asked+".") }
	if !slices.ContainsFunc(vaulted, func(name string) bool { return !apart(name) }) {
		return nil
	}
	dir, err := a.data()
	if err != nil {
		return nil
	}
	if running, err := a.running(dir); err != nil || !running {
		names, _ := serve.UnreadableSecrets(ctx, serve.Options{DataDir: dir, Environ: a.environ, Logger: slog.New(slog.DiscardHandler)})
		return slices.DeleteFunc(names, apart) // that the configuration cannot be read either is told elsewhere
	}
	list, _ := ask(ctx, a, bus.VaultList, bus.SecretQuery{})
	return slices.DeleteFunc(list.Unreadable(), apart)
}

// liveVault is the daemon's.
type liveVault struct{ c *bus.Conn }

func (v liveVault) Set(ctx context.Context, r bus.SecretValue) (bus.SecretOutcome, error) {
	return bus.VaultSet.Ask(ctx, v.c, r)
}

func (v liveVault) List(ctx context.Context, r bus.SecretQuery) (bus.SecretList, error) {
	return bus.VaultList.Ask(ctx, v.c, r)
}

func (v liveVault) Delete(ctx context.Context, r bus.SecretName) (bus.SecretOutcome, error) {
	return bus.VaultDelete.Ask(ctx, v.c, r)
}

func (v liveVault) Rotate(ctx context.Context, r bus.VaultRotation) (bus.VaultRotated, error) {
	return bus.VaultRotate.Ask(ctx, v.c, r)
}

// noVault is that of a data directory in which nothing is yet.
type noVault struct{}

func emptyVault() error {
	return bus.Errorf(bus.CodeNotFound, "the vault is empty").WithHint("`blufio config set-secret NAME` begins it")
}

func (noVault) Set(context.Context, bus.SecretValue) (bus.SecretOutcome, error) {
	return bus.SecretOutcome{}, emptyVault()
}

func (noVault) List(context.Context, bus.SecretQuery) (bus.SecretList, error) {
	return bus.SecretList{State: bus.VaultEmpty, Limit: bus.MaxSecrets, Secrets: []bus.SecretInfo{}}, nil
}

func (noVault) Delete(context.Context, bus.SecretName) (bus.SecretOutcome, error) {
	return bus.SecretOutcome{}, emptyVault()
}

func (noVault) Rotate(context.Context, bus.VaultRotation) (bus.VaultRotated, error) {
	return bus.VaultRotated{}, emptyVault()
}
