// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/vault"
)

// OfflineVault is the vault of a data directory on which no daemon runs. It answers
// as the daemon's room does.
type OfflineVault struct{ v *vault.Vault }

// WithVault opens the vault of o.DataDir for as long as use takes, holding the lock
// so that no daemon starts meanwhile. It fails with a [*LockedError] while one runs.
// Of the options it needs DataDir, Environ, Logger and Now, and Loaded and Config to
// tell what counts more than the vault.
// What became of a restore that had been cut off is said first.
func WithVault(ctx context.Context, o Options, say func(line string), use func(*OfflineVault) error) (err error) {
	if _, err := embedded.LoadOrCreateDevice(o.DataDir); err != nil { // it also checks the directory's mode
		return err
	}
	lock, err := takeLock(o.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	lock.say(say)
	store, err := openStore(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	v, _, err := o.bind(ctx, store, eventlog.New(store))
	if err != nil {
		return err
	}
	return use(&OfflineVault{v})
}

// Set is bus.VaultSet.
func (o *OfflineVault) Set(ctx context.Context, r bus.SecretValue) (bus.SecretOutcome, error) {
	return o.v.Set(ctx, r.Name, config.NewSecret(r.Value.Reveal()))
}

// List is bus.VaultList.
func (o *OfflineVault) List(ctx context.Context, _ bus.SecretQuery) (bus.SecretList, error) {
	o.v.Unlock(ctx)
	return o.v.List(), nil
}

// Delete is bus.VaultDelete.
func (o *OfflineVault) Delete(ctx context.Context, r bus.SecretName) (bus.SecretOutcome, error) {
	return o.v.Delete(ctx, r.Name)
}

// Rotate is bus.VaultRotate.
func (o *OfflineVault) Rotate(ctx context.Context, r bus.VaultRotation) (bus.VaultRotated, error) {
	return o.v.Rotate(ctx, r)
}

// VaultSourceName is what people call what a vault is locked with.
func VaultSourceName(source string) string { return vault.SourceName(source) }

// CheckPassphrase refuses what the vault cannot be locked with.
func CheckPassphrase(text string) error { return vault.CheckPassphrase(text) }

// CheckSecretName refuses what cannot be a secret's name.
func CheckSecretName(name string) error { return vault.CheckName(name) }

// CheckSecret refuses a value that the vault or the section it is for would not take.
func CheckSecret(name, text string) error {
	s := config.NewSecret(text)
	if err := vault.Check(name, s); err != nil {
		return err
	}
	return checkSecret(name, s)
}
