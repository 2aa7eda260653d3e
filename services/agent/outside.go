// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"

	"github.com/blufio/blufio/bus"
)

// outside stands for all channels that are programs of their own, with a key of the
// bus: they share an outbox, and a label in metrics, for names may be many over time.
const outside = "outside"

// own reports whether the channel is a room of this daemon.
func (s *Service) own(channel string) bool { return channel != outside && s.outbox[channel] != nil }

// outboxOf is where the channel's replies wait.
func (s *Service) outboxOf(channel string) *outbox {
	if s.own(channel) {
		return s.outbox[channel]
	}
	return s.outbox[outside]
}

// label is the channel's in metrics.
func (s *Service) label(channel string) string {
	if s.own(channel) {
		return channel
	}
	return outside
}

// checkChannel refuses a channel that is neither a room nor has a key.
func (s *Service) checkChannel(ctx context.Context, channel string) error {
	if s.own(channel) {
		return nil
	}
	if bus.ValidToken(channel) {
		list, err := bus.KeyList.Ask(ctx, s.bus(), bus.KeyQuery{})
		if err != nil {
			return err
		}
		for _, k := range list.Keys {
			if k.Role == bus.RoleChannel && k.Name == channel {
				return nil
			}
		}
	}
	return bus.Errorf(bus.CodeInvalid, "no channel is called %.80q", channel)
}
