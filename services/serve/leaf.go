// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"fmt"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
)

// checkNode refuses a name that cannot stand in a subject of the hub. Nothing is
// made of it that could: two hosts could come to share what is made.
func (c Config) checkNode(report func(key, message, hint string)) {
	if name := node(c.Daemon.Node); c.Bus.Leaf.On() && !bus.ValidToken(name) {
		report("daemon.node", fmt.Sprintf("%q cannot be a name on a hub: it is 1 to 64 of a-z 0-9 - _", name),
			`set daemon.node to a name of its own, as "kitchen"`)
	}
}

// leaf is the hub to join, nil for none.
func (c Config) leaf() (*embedded.Leaf, error) {
	if !c.Bus.Leaf.On() {
		return nil, nil
	}
	return embedded.LoadLeaf(c.Bus.Leaf.Leaf(node(c.Daemon.Node)))
}
