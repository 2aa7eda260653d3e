// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"context"
	"fmt"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// Probes are the checks of a vault, in the daemon and without one. Those of no Vault
// can be listed; made, they say that nothing is kept.
func Probes(v *Vault) []services.Probe {
	return []services.Probe{{
		ID: "BLF-VLT-001", Title: "The vault opens", Place: services.Either,
		Why:      "keys and tokens that are kept in it are used by nobody while it does not",
		Fix:      "put back what it is locked with, and restart",
		Problems: []string{"vault_locked", "vault_secret"},
		Run:      v.probeOpen,
	}, {
		ID: "BLF-VLT-002", Title: "The vault's key lies apart from it", Place: services.Either,
		Why: "who copies the data directory, or finds a backup of all of it, has the secrets too",
		Fix: "start with a systemd credential vault-key, or with BLUFIO_VAULT_KEY, then: blufio config rotate-vault-key",
		Run: v.probeApart,
	}, {
		ID: "BLF-VLT-003", Title: "Every secret in the database decrypts", Place: services.Either, Deep: true,
		Why: "one that is damaged while the daemon runs is missed at its next start",
		Fix: "set it again with `blufio config set-secret`",
		Run: v.probeSecrets,
	}}
}

// ready waits until the vault is open, or cannot be; it tells what is in it. The result
// says why nothing is to be checked, and is empty otherwise.
func (v *Vault) ready(ctx context.Context) (bus.SecretList, services.Result) {
	if v == nil {
		return bus.SecretList{}, services.Skip("nothing is kept in it")
	}
	select {
	case <-v.opened:
	case <-ctx.Done():
		return bus.SecretList{}, services.Skip("it is being opened")
	}
	l := v.List()
	if l.State == bus.VaultEmpty {
		return l, services.Skip("nothing is kept in it")
	}
	return l, services.Result{}
}

func (v *Vault) probeOpen(ctx context.Context) services.Result {
	l, none := v.ready(ctx)
	switch {
	case none.Level != "":
		return none
	case l.State == bus.VaultLocked && v.elsewhere():
		return services.Skip("it is locked with %s, which only the daemon has", SourceName(l.Source))
	case l.State == bus.VaultLocked:
		return services.Fail("%s", l.Problem).WithFix("%s", l.Hint)
	}
	var damaged []string
	for _, s := range l.Secrets {
		if s.Unreadable {
			damaged = append(damaged, s.Name)
		}
	}
	if len(damaged) > 0 {
		return services.Fail("it is open, but damaged or changed are: %s", strings.Join(damaged, ", ")).
			WithFix("set each again: blufio config set-secret %s", damaged[0])
	}
	if why := v.again(); why != nil {
		return services.Warn("it is open, and would not be after a restart: %s", why.Message).
			WithFix("%s; or, while it is open, make a new key: blufio config rotate-vault-key", why.Hint)
	}
	return services.OK("%s, locked with %s", counted(len(l.Secrets)), SourceName(l.Source))
}

// again tells why a vault that is open would not open now. Only a file can have changed
// since.
func (v *Vault) again() *bus.Error {
	if !v.change.TryLock() {
		return nil // the key is being exchanged
	}
	defer v.change.Unlock()
	v.mu.RLock()
	row := v.row
	v.mu.RUnlock()
	if row == nil || row.source != bus.KeyFile {
		return nil
	}
	_, _, why := v.openRow(row)
	if why != nil {
		why.Hint, _, _ = strings.Cut(why.Hint, " and restart")
	}
	return why
}

func counted(n int) string {
	if n == 1 {
		return "1 secret"
	}
	return fmt.Sprintf("%d secrets", n)
}

// elsewhere reports whether whoever looks from outside of the daemon lacks what is only
// in the daemon's environment.
func (v *Vault) elsewhere() bool {
	if !v.d.Look || v.row == nil || v.row.source == bus.KeyFile {
		return false
	}
	m, err := v.d.Sources.read(v.row.source)
	return m == nil && err == nil
}

func (v *Vault) probeApart(ctx context.Context) services.Result {
	l, none := v.ready(ctx)
	switch {
	case none.Level != "":
		return none
	case l.Source == bus.KeyFile && l.State == bus.VaultLocked:
		return services.Skip("see BLF-VLT-001")
	case l.Source == bus.KeyFile:
		return services.Info("%s lies in the data directory, beside the database", fileName)
	}
	return services.OK("it is %s", SourceName(l.Source))
}

// probeSecrets reads what the database has now; what was known before is another
// check's.
func (v *Vault) probeSecrets(ctx context.Context) services.Result {
	l, none := v.ready(ctx)
	if none.Level != "" {
		return none
	}
	v.mu.RLock()
	key := v.key
	v.mu.RUnlock()
	if key == nil {
		return services.Skip("see BLF-VLT-001")
	}
	all, err := readSecrets(ctx, v.d.Store)
	if err != nil {
		return services.Fail("%v", err).WithFix("see BLF-DB-003")
	}
	known := map[string]bool{}
	for _, s := range l.Secrets {
		known[s.Name] = s.Unreadable
	}
	var damaged []string
	for _, s := range all {
		if _, err := unseal(key, s.nonce, s.ciphertext, aboutSecret(s.name)); err != nil && !known[s.name] {
			damaged = append(damaged, s.name)
		}
	}
	if len(damaged) > 0 {
		return services.Fail("damaged or changed since the vault was opened: %s", strings.Join(damaged, ", ")).
			WithFix("set each again: blufio config set-secret %s", damaged[0])
	}
	return services.OK("all %d do", len(all))
}
