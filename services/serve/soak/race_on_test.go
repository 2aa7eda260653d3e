// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build race

package main

// raced is true under the race detector, with which arithmetic takes ten times as long.
const raced = true
