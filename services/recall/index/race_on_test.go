// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build race

package index

// raced is true under the race detector, which takes memory of its own.
const raced = true
