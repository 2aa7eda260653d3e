// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !failpoint

package failpoint

import "time"

// Hit does nothing.
func Hit(string) {}

// HitOn does nothing.
func HitOn(_, _ string) {}

// Brisk is d.
func Brisk(d time.Duration) time.Duration { return d }
