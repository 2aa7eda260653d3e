// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build race

package main

// raced is true under the race detector, which takes ten times as long.
const raced = true
