// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import "time"

// Hurry makes every pause d long.
func (s *Service) Hurry(d time.Duration) {
	s.pauses = pauses{first: d, most: 4 * d, token: d, tick: d, typing: d, gap: time.Microsecond}
	s.cfg.EditInterval = d
}
