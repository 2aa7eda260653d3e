// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/config"
)

// maxNodeName bounds a daemon's name: a backup says whose it is, and takes no longer text.
const maxNodeName = 255

// checkNode refuses a name that cannot be told, and one that cannot stand in a subject of the hub. Nothing is
// made of it that could: two hosts could come to share what is made.
func (c Config) checkNode(report func(key, message, hint string)) {
	name := node(c.Daemon.Node)
	if len(name) > maxNodeName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		report("daemon.node", fmt.Sprintf("%.40q is no name: it has at most %d bytes, all of which print", name, maxNodeName), `write it like "kitchen"`)
		return
	}
	if c.Bus.Leaf.On() && !bus.ValidToken(name) {
		report("daemon.node", fmt.Sprintf("%q cannot be a name on a hub: it is 1 to 64 of a-z 0-9 - _", name),
			`set daemon.node to a name of its own, as "kitchen"`)
	}
}

// leaf is the hub to join, nil for none. Its key is a secret like the others.
func (o Options) leaf() (*embedded.Leaf, error) {
	if !o.Config.Bus.Leaf.On() {
		return nil, nil
	}
	l, err := embedded.LoadLeaf(o.Config.Bus.Leaf.Leaf(node(o.Config.Daemon.Node)))
	if err == nil {
		learn(o.Redactor, "the key of the hub", config.NewSecret(l.Seed()), o.Logger)
	}
	return l, err
}
