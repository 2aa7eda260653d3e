// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// ForgetMatches has the server forget who, in our account, hears which subject. It remembers
// that for each connection and up to 512 subjects, which after a burst are inboxes that
// nobody uses any more: small objects that lie everywhere in the Go heap, and each holds the
// 8 KiB around it. A subscription that comes and goes makes all of it old, and a connection
// lets go of it with the next message that it sends.
func (c *Conn) ForgetMatches() error {
	sub, err := Listen(c.nc, c.nc.NewInbox(), func(*nats.Msg) {}) // nobody knows the inbox
	if err == nil {
		err = sub.Unsubscribe()
	}
	if err != nil {
		return fmt.Errorf("have the server forget matches: %w", err)
	}
	return nil
}
