// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build race

package archive

const raceEnabled = true
