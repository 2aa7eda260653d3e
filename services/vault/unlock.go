// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"bytes"
	"context"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
)

// Unlock opens the vault, unless that was tried before in this process. Whether it is
// open, [Vault.List] tells.
func (v *Vault) Unlock(ctx context.Context) {
	v.once.Do(func() {
		v.change.Lock()
		defer v.change.Unlock()
		defer close(v.opened)
		v.look()
		v.unlock(context.WithoutCancel(ctx)) // it is tried once
	})
}

// look notes which sources there are. v.change is held.
func (v *Vault) look() {
	first := v.d.Sources.given()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.first = first
}

func (v *Vault) unlock(ctx context.Context) {
	if v.row == nil {
		return
	}
	key, m, why := v.openRow(v.row)
	if why != nil {
		v.mu.Lock()
		v.why = why
		v.mu.Unlock()
		if len(v.entries) > 0 {
			v.log.Error("the vault is not open; its secrets are not available", "err", why, "hint", why.Hint)
		}
		return
	}
	if m.source == bus.KeyFile && !v.d.Look {
		v.tidy(m)
	}
	all, err := readSecrets(ctx, v.d.Store)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.why = bus.Errorf(bus.CodeUnavailable, "the vault cannot be read: %v", err).WithHint("see whether the database is well, and restart")
		return
	}
	v.key = key
	for _, s := range all {
		v.entries[s.name] = v.openSecret(key, s)
	}
}

// openSecret reads one secret. One that was changed behind our back is there, without
// a value.
func (v *Vault) openSecret(key []byte, s sealedSecret) entry {
	e := entry{setAt: s.setAt}
	plain, err := unseal(key, s.nonce, s.ciphertext, aboutSecret(s.name))
	if err != nil {
		v.log.Error("a secret cannot be read", "name", s.name, "err", err)
		return e
	}
	text := string(plain)
	v.d.Known(config.NewSecret(text))
	e.text = &text
	return e
}

// tidy ends a rotation that a crash cut off. m is the file that opened the vault.
func (v *Vault) tidy(m *material) {
	f := v.d.Sources.file
	step := f.dropNext
	if m.path == f.next() {
		step = f.adopt
	}
	if err := step(); err != nil {
		v.log.Warn("the vault's key file is not tidied up", "err", err)
	}
}

// settle puts the next key file in its place where that is the one that opens the vault
// and could not be put there before: the next rotation would take it away. v.change is
// held.
func (v *Vault) settle() error {
	f, row := v.d.Sources.file, v.row
	m, err := f.readAt(f.next())
	if m == nil || err != nil || row.kdf.name != m.kdf {
		return err
	}
	wrapped, err := v.wrappingOf(m, row.kdf)
	if err != nil {
		return err
	}
	if _, err := unseal(wrapped.key, row.nonce, row.wrapped, row.about()); err != nil {
		return nil // it opens nothing
	}
	return f.adopt()
}

// openRow unwraps the data key. v.change is held.
func (v *Vault) openRow(row *keyRow) (key []byte, m *material, why *bus.Error) {
	if err := row.kdf.check(); err != nil {
		return nil, nil, locked(row, "the vault is not opened: "+err.Error())
	}
	tried, err := v.candidates(row)
	if err != nil {
		return nil, nil, locked(row, "what the vault is locked with cannot be used: "+err.Error())
	}
	for _, m := range tried {
		wrapped, err := v.wrappingOf(m, row.kdf)
		if err != nil {
			return nil, nil, locked(row, "the vault is not opened: "+err.Error())
		}
		key, err := unseal(wrapped.key, row.nonce, row.wrapped, row.about())
		if err == nil && len(key) == keySize {
			return key, m, nil
		}
	}
	if len(tried) == 0 {
		return nil, nil, locked(row, "the vault is locked with "+SourceName(row.source)+", which is not there")
	}
	return nil, nil, locked(row, SourceName(tried[0].source)+" does not open the vault")
}

// candidates are what may open the vault: what it was locked with, and what else makes
// keys in the same way, for a file may since have become a credential. Of passphrases
// only one is tried, since each try is dear.
func (v *Vault) candidates(row *keyRow) ([]*material, error) {
	s := v.d.Sources
	m, err := s.read(row.source)
	if err != nil {
		return nil, err
	}
	var out []*material
	add := func(m *material, err error) {
		if err == nil && m != nil && m.kdf == row.kdf.name {
			out = append(out, m)
		}
	}
	add(m, nil)
	add(s.file.readAt(s.file.next()))
	for _, source := range order {
		if source != row.source {
			add(s.read(source))
		}
	}
	if row.kdf.name == kdfArgon2 && len(out) > 1 {
		out = out[:1]
	}
	return out, nil
}

// wrappingOf makes a key of a source. v.change is held. What Argon2id made is kept.
func (v *Vault) wrappingOf(m *material, k kdf) (*wrapping, error) {
	if g := v.guessed; g != nil && k.name == kdfArgon2 && g.of.same(m) && g.kdf.same(k) {
		return g, nil
	}
	key, err := k.derive(m.bytes)
	if err != nil {
		return nil, err
	}
	w := &wrapping{of: m, kdf: k, key: key}
	if k.name == kdfArgon2 {
		v.guessed = w
		v.derived++
	}
	return w, nil
}

func (k kdf) same(other kdf) bool {
	return k.name == other.name && k.passes == other.passes && k.memoryKiB == other.memoryKiB && k.lanes == other.lanes && bytes.Equal(k.salt, other.salt)
}

// wrap makes the row for a data key. v.change is held.
func (v *Vault) wrap(m *material, key []byte) (*keyRow, error) {
	k := newKDF(m.kdf)
	if g := v.guessed; g != nil && g.of.same(m) && m.kdf == kdfArgon2 && g.kdf.check() == nil {
		k = g.kdf
	}
	w, err := v.wrappingOf(m, k)
	if err != nil {
		return nil, err
	}
	now := v.d.Now()
	row := &keyRow{source: m.source, kdf: k, created: now, rotated: now}
	row.nonce, row.wrapped, err = seal(w.key, key, row.about())
	return row, err
}

// locked says why the vault is not open, and what to do about it.
func locked(row *keyRow, why string) *bus.Error {
	hint := "put the right vault.key back into the data directory, and restart the daemon if one runs"
	switch row.source {
	case bus.KeyCredential:
		hint = "give the daemon the right credential (LoadCredential=" + credentialName + ":… in its unit) and restart it"
	case bus.KeyPassphrase:
		hint = "set " + PassphraseVariable + " to the right passphrase where the daemon is started, and restart it; while none runs, in this shell"
	}
	return bus.Errorf(bus.CodeUnavailable, "%s", why).
		WithHint("%s; if it is lost, delete each secret with `blufio config delete-secret` and set it again", hint)
}
