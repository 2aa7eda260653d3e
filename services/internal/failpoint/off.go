// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !failpoint

package failpoint

// Hit does nothing.
func Hit(string) {}

// HitOn does nothing.
func HitOn(_, _ string) {}
