// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/blufio/blufio/services/agent/faithful"
)

// The fake's summaries have what the agent asks of one: or it would ask twice each time.
func TestSummaryIsFaithful(t *testing.T) {
	const before = "They spoke of 17, 23 and Anna."
	said := []string{"hello, this is message 4711", "Tom moves on 3 March"}
	asked := "What came before, in short:\n" + before + "\n\nThe conversation:\n\n[2026-01-02] Person: " + said[0] + "\nAssistant: It is so.\n\n[2026-01-03] Person: " + said[1] + "\nAssistant: It is so.\n\nThe summary, with at most 500 words:"
	text := strings.Join(summary(asked).Text, "")
	if lost := faithful.Missing(faithful.Items(append(said, before)...), text); len(lost) > 0 {
		t.Errorf("%q lacks %v", text, lost)
	}
}
