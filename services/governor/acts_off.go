// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build ungoverned

package governor

// Here the room measures and does nothing else. Only the memory soak builds it, to
// prove that the bounds hold by themselves; what is shipped has no such switch.
const acts = false
