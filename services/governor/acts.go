// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !ungoverned

package governor

// acts: the room acts on what it reads.
const acts = true
