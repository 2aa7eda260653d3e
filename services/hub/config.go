// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"errors"

	"github.com/blufio/blufio/bus/embedded"
)

// Config is the section [bus.leaf].
type Config struct {
	URL      string `koanf:"url" doc:"The hub's leaf node port, tls://host:7422, or nats-leaf://127.0.0.1:7422 without TLS on this machine. Empty: this daemon stands alone."`
	SeedFile string `koanf:"seed_file" doc:"File, mode 0600, with the seed of the user key that the hub knows this daemon by."`
	CAFile   string `koanf:"ca_file" doc:"File with the certificates that the hub's is signed by; empty is the system's."`
}

// On reports whether there is a hub to join.
func (c Config) On() bool { return c.URL != "" }

// Leaf is what the bus server is told.
func (c Config) Leaf(node string) embedded.LeafConfig {
	return embedded.LeafConfig{URL: c.URL, SeedFile: c.SeedFile, CAFile: c.CAFile, Node: node}
}

// CheckFiles tells which files cannot be used.
func (c Config) CheckFiles(report func(key string, err error, hint string)) {
	if !c.On() || c.SeedFile == "" {
		return
	}
	seed, ca := embedded.CheckLeafFiles(c.Leaf(""))
	if seed != nil {
		hint := ""
		if key := (*embedded.KeyError)(nil); errors.As(seed, &key) {
			hint = key.Fix
		}
		report("seed_file", seed, hint)
	}
	if ca != nil {
		report("ca_file", ca, "name a PEM file with the certificates that the hub's is signed by, or leave it out")
	}
}

// Check refuses an address that cannot be joined.
func (c Config) Check(report func(key, message, hint string)) {
	if !c.On() {
		if c.SeedFile != "" {
			report("url", "it is empty, and there is a seed_file", "name the hub, as tls://hub.example.org:7422")
		}
		return
	}
	if _, err := embedded.ParseLeafURL(c.URL); err != nil {
		report("url", err.Error(), "write it like tls://hub.example.org:7422")
	}
	if c.SeedFile == "" {
		report("seed_file", "it is empty, and the hub admits nobody without a key", "make one with `nk -gen user`, and tell the hub its public key")
	}
}
