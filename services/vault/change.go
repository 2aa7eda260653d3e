// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Set keeps a secret, or replaces it. Its errors, like those of all changes, are a
// *bus.Error where there is something that the operator can do.
func (v *Vault) Set(ctx context.Context, name string, value config.Secret) (bus.SecretOutcome, error) {
	if err := Check(name, value); err != nil {
		return bus.SecretOutcome{}, err // it may be too large to be remembered
	}
	v.d.Known(value)
	if err := v.d.Check(name, value); err != nil {
		return bus.SecretOutcome{}, err
	}
	text := value.Reveal()
	v.Unlock(ctx)
	v.change.Lock()
	defer v.change.Unlock()
	key, row, err := v.keyToUse()
	if err != nil {
		return bus.SecretOutcome{}, err
	}
	v.mu.RLock()
	_, replaces := v.entries[name]
	full := !replaces && len(v.entries) >= maxSecrets
	v.mu.RUnlock()
	if full {
		return bus.SecretOutcome{}, bus.Errorf(bus.CodeBusy, "the vault is full: it keeps at most %d secrets", maxSecrets).
			WithHint("delete one with `blufio config delete-secret`; `blufio config list-secrets` names them")
	}
	s := sealedSecret{name: name, setAt: v.d.Now()}
	if s.nonce, s.ciphertext, err = seal(key, []byte(text), aboutSecret(name)); err != nil {
		return bus.SecretOutcome{}, fmt.Errorf("encrypt secret: %w", err)
	}
	err = v.commit(ctx, bus.SecretFact{Name: name, Action: bus.SecretSet}, func(tx *sqlite.Tx) error {
		if row != nil {
			if err := row.write(tx); err != nil {
				return err
			}
		}
		return s.write(tx)
	}, func() {
		if row != nil {
			v.row, v.key, v.why = row, key, nil
		}
		v.entries[name] = entry{setAt: s.setAt, text: &text}
	})
	return v.outcome(name, bus.SecretSet), err
}

// CheckName refuses what cannot be a secret's name.
func CheckName(name string) error {
	if len(name) > maxName || !nameShape.MatchString(name) {
		return bus.Errorf(bus.CodeInvalid, "%.100q cannot be a secret's name", name).
			WithHint("write it like a configuration key, in lower-case words with dots between: anthropic.api_key")
	}
	return nil
}

// Check holds a secret against the bounds.
func Check(name string, value config.Secret) error {
	text := value.Reveal()
	switch {
	case text == "":
		return bus.Errorf(bus.CodeInvalid, "the secret is empty").WithHint("to delete one: `blufio config delete-secret %.100s`", name)
	case len(text) > maxBytes:
		return bus.Errorf(bus.CodeTooLarge, "the secret has %d bytes, and the vault takes at most %d", len(text), maxBytes)
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return bus.Errorf(bus.CodeInvalid, "the secret is not text").WithHint("encode it first, with base64 for instance")
	}
	return CheckName(name)
}

// keyToUse is the data key, with its row where the vault is begun. v.change is held.
func (v *Vault) keyToUse() ([]byte, *keyRow, error) {
	v.mu.RLock()
	key, why, state := v.key, v.why, v.state()
	v.mu.RUnlock()
	if state == bus.VaultLocked {
		return nil, nil, why
	}
	if state == bus.VaultOpen {
		return key, nil, nil
	}
	m, err := v.d.Sources.first()
	if err != nil {
		return nil, nil, unusable(err)
	}
	failpoint.Hit("vault.key-made")
	key = random(keySize)
	row, err := v.wrap(m, key)
	return key, row, err
}

func unusable(err error) *bus.Error {
	return bus.Errorf(bus.CodeUnavailable, "the vault cannot be locked: %v", err).WithHint("mend that, or set another source; see `blufio config set-secret --help`")
}

// Delete deletes a secret. It needs no key.
func (v *Vault) Delete(ctx context.Context, name string) (bus.SecretOutcome, error) {
	v.Unlock(ctx)
	v.change.Lock()
	defer v.change.Unlock()
	if !v.has(name) {
		e := bus.Errorf(bus.CodeNotFound, "the vault has no secret %.100q", name).WithHint("`blufio config list-secrets` names those it has")
		if near := config.Nearest(name, v.Names()); near != "" {
			e = e.WithHint("did you mean %s?", near)
		}
		return bus.SecretOutcome{}, e
	}
	err := v.commit(ctx, bus.SecretFact{Name: name, Action: bus.SecretDeleted}, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`DELETE FROM vault_secrets WHERE name = ?`, name)
		return err
	}, func() { delete(v.entries, name) })
	return v.outcome(name, bus.SecretDeleted), err
}

// Rotate makes a new data key and encrypts every secret under it; a key file is made
// anew too. What the vault is locked with afterwards is the first source there is.
func (v *Vault) Rotate(ctx context.Context) (bus.VaultRotated, error) {
	v.Unlock(ctx)
	v.change.Lock()
	defer v.change.Unlock()
	values, err := v.values()
	if err != nil {
		return bus.VaultRotated{}, err
	}
	if err := v.settle(); err != nil {
		return bus.VaultRotated{}, unusable(err)
	}
	m, err := v.nextMaterial()
	if err != nil {
		return bus.VaultRotated{}, unusable(err)
	}
	key := random(keySize)
	row, err := v.wrap(m, key)
	if err != nil {
		return bus.VaultRotated{}, fmt.Errorf("wrap the new key: %w", err)
	}
	row.created = v.row.created
	var sealed []sealedSecret
	for name, e := range values {
		s := sealedSecret{name: name, setAt: e.setAt}
		if s.nonce, s.ciphertext, err = seal(key, []byte(*e.text), aboutSecret(name)); err != nil {
			return bus.VaultRotated{}, fmt.Errorf("encrypt secret: %w", err)
		}
		sealed = append(sealed, s)
	}
	failpoint.Hit("vault.next-key-made")
	err = v.commit(ctx, bus.SecretFact{Action: bus.SecretRotated}, func(tx *sqlite.Tx) error {
		errs := []error{row.write(tx)}
		for _, s := range sealed {
			errs = append(errs, s.write(tx))
		}
		return errors.Join(errs...)
	}, func() { v.row, v.key = row, key })
	if err != nil {
		return bus.VaultRotated{}, err
	}
	failpoint.Hit("vault.rotated")
	if m.source == bus.KeyFile {
		v.tidy(m)
	}
	failpoint.Hit("vault.next-key-in-place")
	return bus.VaultRotated{Secrets: len(sealed), Source: m.source}, nil
}

// values are all secrets, if they can be read. v.change is held.
func (v *Vault) values() (map[string]entry, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	switch v.state() {
	case bus.VaultLocked:
		return nil, v.why
	case bus.VaultEmpty:
		return nil, bus.Errorf(bus.CodeNotFound, "the vault is empty, and has no key yet").WithHint("`blufio config set-secret NAME` begins it")
	}
	values := make(map[string]entry, len(v.entries))
	for name, e := range v.entries {
		if e.text == nil {
			return nil, unreadable(name)
		}
		values[name] = e
	}
	return values, nil
}

// nextMaterial is what the vault will be locked with: a file anew, anything else as it
// is.
func (v *Vault) nextMaterial() (*material, error) {
	s := v.d.Sources
	for _, source := range order {
		m, err := s.read(source)
		if err != nil {
			return nil, err
		}
		if m != nil && source != bus.KeyFile {
			return m, nil
		}
	}
	return s.file.remake()
}

// commit writes a change and its event, and then, before anyone can hear of it, makes
// it count in memory.
func (v *Vault) commit(ctx context.Context, fact bus.SecretFact, write func(tx *sqlite.Tx) error, apply func()) error {
	fact.Time = v.d.Now().UTC()
	err := v.d.Store.Write(ctx, func(tx *sqlite.Tx) error {
		if err := write(tx); err != nil {
			return err
		}
		tx.AfterCommit(func() {
			v.mu.Lock()
			defer v.mu.Unlock()
			apply()
		})
		return eventlog.Record(v.d.Events, tx, bus.SecretChanged, fact)
	})
	if err != nil {
		return fmt.Errorf("write the vault: %w", err)
	}
	v.log.Info("the vault changed", "action", fact.Action, "name", fact.Name)
	return nil
}

func (v *Vault) outcome(name, action string) bus.SecretOutcome {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return bus.SecretOutcome{Name: name, Action: action, Overridden: v.overridden[name]}
}
