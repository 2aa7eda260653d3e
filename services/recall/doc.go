// SPDX-License-Identifier: MIT OR Apache-2.0

// Package recall is the room that keeps facts about people for long and finds those that have to do with a text.
package recall
