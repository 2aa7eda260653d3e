// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// What may wait in a connection for one of its listeners. The client's own bounds are
// half a million messages and 64 MiB for each.
const (
	eventQueue      = 8192    // messages; more are dropped, counted and logged: a listener never slows the one who speaks
	eventQueueBytes = 4 << 20 // of events, the same in bytes
	callQueueBytes  = 8 << 20 // of requests that no crew has looked at: twice what the server sends at one go, so that a burst finds room; who asks beyond waits in vain
)

// Listen subscribes fn within the bounds of an event's listener. What finds no room is
// dropped and told to the connection's error handler; who has to know before the next
// message asks the subscription's Dropped.
func Listen(nc *nats.Conn, subject string, fn nats.MsgHandler) (*nats.Subscription, error) {
	sub, err := nc.Subscribe(subject, fn)
	if err == nil {
		err = sub.SetPendingLimits(eventQueue, eventQueueBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", subject, err)
	}
	return sub, nil
}
