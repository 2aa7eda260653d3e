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
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Rotate makes a new data key and encrypts every secret under it. What the vault is
// locked with afterwards is what r asks for, or else the first source there is; a key
// file is made anew. A new passphrase stands for BLUFIO_VAULT_KEY for the rest of this
// process.
func (v *Vault) Rotate(ctx context.Context, r bus.VaultRotation) (bus.VaultRotated, error) {
	if err := v.checkRotation(r); err != nil {
		return bus.VaultRotated{}, err
	}
	v.Unlock(ctx)
	v.change.Lock()
	defer v.change.Unlock()
	values, err := v.values()
	if err != nil {
		return bus.VaultRotated{}, err
	}
	if err := v.meant(r); err != nil {
		return bus.VaultRotated{}, err
	}
	if err := v.settle(); err != nil {
		return bus.VaultRotated{}, unusable(err)
	}
	m, err := v.nextMaterial(r)
	if err != nil {
		return bus.VaultRotated{}, unusable(err)
	}
	failpoint.Hit("vault.next-key-made")
	if err := v.relock(ctx, m, values); err != nil {
		return bus.VaultRotated{}, err
	}
	failpoint.Hit("vault.rotated")
	v.took(m, r)
	failpoint.Hit("vault.next-key-in-place")
	return bus.VaultRotated{Secrets: len(values), Source: m.source, Next: v.List().Next, OldFile: v.oldFile(m)}, nil
}

// relock encrypts everything under a new data key, locked with m. v.change is held.
func (v *Vault) relock(ctx context.Context, m *material, values map[string]entry) error {
	key := random(keySize)
	row, err := v.wrap(m, key)
	if err != nil {
		return fmt.Errorf("wrap the new key: %w", err)
	}
	row.created = v.row.created
	var sealed []sealedSecret
	for name, e := range values {
		s := sealedSecret{name: name, setAt: e.setAt}
		if s.nonce, s.ciphertext, err = seal(key, []byte(*e.text), aboutSecret(name)); err != nil {
			return fmt.Errorf("encrypt secret: %w", err)
		}
		sealed = append(sealed, s)
	}
	return v.commit(ctx, bus.SecretFact{Action: bus.SecretRotated}, func(tx *sqlite.Tx) error {
		errs := []error{row.write(tx)}
		for _, s := range sealed {
			errs = append(errs, s.write(tx))
		}
		return errors.Join(errs...)
	}, func() { v.row, v.key = row, key })
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

// checkRotation refuses what cannot be asked for, and makes a new passphrase known.
func (v *Vault) checkRotation(r bus.VaultRotation) error {
	text := r.Passphrase.Reveal()
	invalid := func(format string, args ...any) *bus.Error { return bus.Errorf(bus.CodeInvalid, format, args...) }
	switch {
	case r.To == bus.KeyPassphrase:
		v.d.Known(config.NewSecret(text))
		return CheckPassphrase(text)
	case r.To != "" && r.To != bus.KeyFile:
		return invalid("the vault cannot be moved to %.40q", r.To).WithHint("to is file or passphrase")
	case text != "":
		return invalid("a new passphrase needs to = passphrase")
	}
	return nil
}

// CheckPassphrase holds a new passphrase against what a variable of the environment can
// hold.
func CheckPassphrase(text string) error {
	switch {
	case len(text) < leastPassphrase:
		return bus.Errorf(bus.CodeInvalid, "the passphrase has fewer than %d bytes", leastPassphrase).WithHint("take a longer one: several words, for instance")
	case len(text) > maxBytes:
		return bus.Errorf(bus.CodeInvalid, "the passphrase has more than %d bytes", maxBytes)
	case !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\r\n"):
		return bus.Errorf(bus.CodeInvalid, "the passphrase is not one line of text").WithHint("%s has to hold it", PassphraseVariable)
	}
	return nil
}

// meant refuses a rotation whose caller takes another passphrase for ours. v.change is
// held.
func (v *Vault) meant(r bus.VaultRotation) error {
	s := v.d.Sources.passphrase
	if r.Meant == nil || !s.IsZero() && r.Meant.Names(s.Reveal()) {
		return nil
	}
	why := "the " + PassphraseVariable + " of this shell is not the daemon's, and the daemon's counts"
	if s.IsZero() {
		why = "the daemon has no " + PassphraseVariable + "; that of this shell does not count"
	}
	return bus.Errorf(bus.CodeInvalid, "%s: nothing was changed", why).
		WithHint("`blufio config rotate-vault-key --new-passphrase` changes the passphrase; unset %s here to rotate with what the daemon has", PassphraseVariable)
}

// nextMaterial is what the vault will be locked with: a file anew, anything else as it
// is.
func (v *Vault) nextMaterial(r bus.VaultRotation) (*material, error) {
	s := v.d.Sources
	switch r.To {
	case bus.KeyPassphrase:
		return passphraseOf(r.Passphrase.Reveal())
	case bus.KeyFile:
		return s.file.remake()
	}
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

// took makes what the vault was moved to count in this process. v.change is held.
func (v *Vault) took(m *material, r bus.VaultRotation) {
	switch {
	case m.source == bus.KeyFile:
		v.tidy(m)
	case r.To == bus.KeyPassphrase:
		s := &v.d.Sources
		if text := string(m.bytes); s.passphrase.IsZero() || s.passphrase.Reveal() != text {
			s.passphrase = config.NewSecret(text)
			v.look()
			v.log.Warn("the vault has a new passphrase", "hint", "put it into "+PassphraseVariable+" of the daemon's environment before the next start")
		}
	}
}

// oldFile is where a key file lies that only older backups need.
func (v *Vault) oldFile(m *material) string {
	f := v.d.Sources.file
	if m.source == bus.KeyFile || !f.there() {
		return ""
	}
	return f.path
}
