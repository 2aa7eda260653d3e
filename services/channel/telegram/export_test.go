// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"context"
	"time"

	"github.com/blufio/blufio/bus"
)

// Hurry makes every pause d long.
func (s *Service) Hurry(d time.Duration) {
	s.pauses = pauses{first: d, most: 4 * d, token: d, tick: d, typing: d, gap: time.Microsecond, group: d, margin: time.Second}
	s.cfg.EditInterval = d
}

// Tick sets how often the room looks around.
func (s *Service) Tick(d time.Duration) { s.pauses.tick = d }

// Deliver is a delivery with another time than the contract gives it.
func (s *Service) Deliver(ctx context.Context, r bus.Reply) (bus.Receipt, error) {
	return s.deliver(ctx, r)
}
