// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"slices"

	"github.com/blufio/blufio/services/config"
)

// Effective is the configuration with what the vault has.
type Effective struct {
	*config.Loaded
	Vaulted []string // names of what the vault has
}

// fromVault reports whether a key's value is the vault's.
func (e Effective) fromVault(key string) bool {
	if !slices.Contains(e.Vaulted, key) || !e.IsSecret(key) {
		return false
	}
	value, _ := e.Loaded.Get(key)
	return value == "" || e.Loaded.Origin(key).Source == config.FromFile // what the environment has counts more, unless it is empty
}

// Get is that of config.Loaded. What the vault has is not shown either.
func (e Effective) Get(key string) (any, bool) {
	if e.fromVault(key) {
		return config.NewSecret("set").String(), true
	}
	return e.Loaded.Get(key)
}

// Whence says where a value came from.
func (e Effective) Whence(key string) config.Origin {
	if e.fromVault(key) {
		return config.Origin{Source: config.FromVault}
	}
	return e.Loaded.Origin(key)
}

// IsChanged is Changed with what the vault has.
func (e Effective) IsChanged(key string) bool { return e.fromVault(key) || e.Changed(key) }

// ConfigSchema names the shape of `blufio config show --json`.
const ConfigSchema = "blufio.config/1"

// Setting is one key, for scripts.
type Setting struct {
	Key     string `json:"key"`
	Value   any    `json:"value"`   // a secret is "[redacted]"
	Default any    `json:"default"` // null in an entry, such as a price of yours
	Changed bool   `json:"changed"` // from its default
	Source  string `json:"source"`  // default, file, env, flag or vault
	Name    string `json:"name"`    // the file's path or the variable's name
	Line    int    `json:"line"`    // 0 outside files
	Column  int    `json:"column"`
	Live    bool   `json:"live"` // a change counts with `blufio config reload`; else it needs a restart
}

// Setting describes a key.
func (e Effective) Setting(key string) Setting {
	o := e.Whence(key)
	s := Setting{Key: key, Changed: e.IsChanged(key), Source: o.Source, Name: o.Name, Line: o.Line, Column: o.Column, Live: e.IsLive(key)}
	s.Value, _ = e.Get(key)
	s.Default, _ = e.Default(key)
	return s
}

// Settings describes keys.
func (e Effective) Settings(keys []string) []Setting {
	all := make([]Setting, len(keys))
	for i, key := range keys {
		all[i] = e.Setting(key)
	}
	return all
}

// Shown is what `blufio config show --json` prints.
type Shown struct {
	Schema string    `json:"schema"`
	Files  []string  `json:"files"` // that were read
	Keys   []Setting `json:"keys"`
}

// Shown describes keys, and where they were read.
func (e Effective) Shown(keys []string) Shown {
	return Shown{Schema: ConfigSchema, Files: append([]string{}, e.Files()...), Keys: e.Settings(keys)}
}
