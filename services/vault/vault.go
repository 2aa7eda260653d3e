// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"context"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	maxSecrets = bus.MaxSecrets
	maxBytes   = bus.MaxSecretBytes
	maxName    = 100 // bytes

	openPatience = 10 * time.Second // of who reads a secret before the vault is open
)

var nameShape = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$`)

// Deps is what a vault works with. Those without a remark are required.
type Deps struct {
	Store   *sqlite.Store // with Schema and eventlog.Schema
	Events  *eventlog.Log // of the same store
	Sources Sources
	Logger  *slog.Logger
	Now     func() time.Time                         // default time.Now
	Known   func(config.Secret)                      // hears every value as it becomes known, before it is used; may be nil
	Check   func(name string, s config.Secret) error // whether a value may have that name, a *bus.Error; may be nil
	Look    bool                                     // nothing is changed, in the database or on disk; Set and its like are not called
}

// Vault is the secrets of one database. Its methods may be called from any goroutine.
type Vault struct {
	d      Deps
	log    *slog.Logger
	once   sync.Once
	opened chan struct{} // closed when the vault is open, or cannot be

	change  sync.Mutex // held by the one who changes the vault, or opens it
	guessed *wrapping  // the latest key that Argon2id made; guarded by change
	derived int        // how often it was asked; guarded by change

	mu         sync.RWMutex
	row        *keyRow    // nil: nothing was ever kept
	key        []byte     // the data key; nil while the vault is not open
	why        *bus.Error // it cannot be opened; nil otherwise
	entries    map[string]entry
	overridden map[string]string // by name, what counts more than the vault
}

// entry is one secret.
type entry struct {
	setAt time.Time
	text  *string // nil while the vault is not open, or when the row is damaged
}

// wrapping is a key made of a source.
type wrapping struct {
	source string
	kdf    kdf
	key    []byte
}

// Open reads what is in the vault, but no value.
func Open(ctx context.Context, d Deps) (*Vault, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Known == nil {
		d.Known = func(config.Secret) {}
	}
	if d.Check == nil {
		d.Check = func(string, config.Secret) error { return nil }
	}
	v := &Vault{d: d, log: d.Logger.With("service", Name), opened: make(chan struct{}), entries: map[string]entry{}, overridden: map[string]string{}}
	row, err := readKey(ctx, d.Store)
	if err != nil {
		return nil, err
	}
	all, err := readSecrets(ctx, d.Store)
	if err != nil {
		return nil, err
	}
	v.row = row
	for _, s := range all {
		v.entries[s.name] = entry{setAt: s.setAt}
	}
	return v, nil
}

// Override notes that the secret of that name comes from elsewhere while this process
// lives, and from where. It is called before the vault is used.
func (v *Vault) Override(name, by string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.overridden[name] = by
}

// Secret is the secret of that name as it stands whenever it is read; where the vault
// has none, otherwise stands for it.
func (v *Vault) Secret(name string, otherwise config.Secret) config.Secret {
	return config.NewLiveSecret(&handle{v, name, otherwise})
}

type handle struct {
	vault     *Vault
	name      string
	otherwise config.Secret
}

// IsSet implements config.Handle.
func (h *handle) IsSet() bool { return h.vault.has(h.name) || !h.otherwise.IsZero() }

// Text implements config.Handle.
func (h *handle) Text() (string, error) {
	if !h.vault.has(h.name) {
		return h.otherwise.Open()
	}
	text, there, err := h.vault.text(h.name)
	if err == nil && !there {
		return h.otherwise.Open()
	}
	return text, err
}

func (v *Vault) has(name string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, ok := v.entries[name]
	return ok
}

// text waits until the vault is open.
func (v *Vault) text(name string) (text string, there bool, err error) {
	timer := time.NewTimer(openPatience)
	defer timer.Stop()
	select {
	case <-v.opened:
	case <-timer.C:
		return "", true, bus.Errorf(bus.CodeUnavailable, "%s is not available: the vault is not open yet", name)
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	e, ok := v.entries[name]
	switch {
	case !ok:
		return "", false, nil
	case e.text != nil:
		return *e.text, true, nil
	case v.why != nil:
		return "", true, bus.Errorf(bus.CodeUnavailable, "%s is not available: %s", name, v.why.Message).WithHint("%s", v.why.Hint)
	}
	return "", true, unreadable(name)
}

func unreadable(name string) *bus.Error {
	return bus.Errorf(bus.CodeUnavailable, "%s is not available: what the vault has of it was damaged or changed", name).
		WithHint("set it again with `blufio config set-secret %s`", name)
}

// Names lists the secrets.
func (v *Vault) Names() []string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.Sorted(maps.Keys(v.entries))
}

// List tells how the vault stands.
func (v *Vault) List() bus.SecretList {
	v.mu.RLock()
	defer v.mu.RUnlock()
	l := bus.SecretList{State: v.state(), Limit: maxSecrets, Secrets: []bus.SecretInfo{}}
	if l.State != bus.VaultEmpty {
		l.Source = v.row.source
	}
	if l.State == bus.VaultLocked {
		l.Problem, l.Hint = v.why.Message, v.why.Hint
	}
	for _, name := range slices.Sorted(maps.Keys(v.entries)) {
		e := v.entries[name]
		l.Secrets = append(l.Secrets, bus.SecretInfo{Name: name, SetAt: e.setAt.UTC(), Overridden: v.overridden[name],
			Unreadable: e.text == nil && l.State == bus.VaultOpen})
	}
	return l
}

// state is how the vault stands; v.mu is held. A locked one in which nothing is left
// is as good as empty.
func (v *Vault) state() string {
	switch {
	case v.row == nil, v.why != nil && len(v.entries) == 0:
		return bus.VaultEmpty
	case v.why != nil:
		return bus.VaultLocked
	case v.key == nil:
		return bus.VaultOpening
	}
	return bus.VaultOpen
}

// Source is what the vault is locked with, "" while it is empty, and whether that
// lies beside the database it protects.
func (v *Vault) Source() (source string, beside bool) {
	l := v.List()
	return l.Source, l.Source == bus.KeyFile
}

// problems tells what an owner can mend.
func (v *Vault) problems() (out []bus.Problem) {
	l := v.List()
	if l.State == bus.VaultLocked {
		return []bus.Problem{{Code: "vault_locked", Title: l.Problem + "; its secrets are not available", Hint: l.Hint}}
	}
	for _, s := range l.Secrets {
		if s.Unreadable {
			e := unreadable(s.Name)
			out = append(out, bus.Problem{Code: "vault_secret", Title: e.Message, Hint: e.Hint})
		}
	}
	return out
}
