// SPDX-License-Identifier: MIT OR Apache-2.0

package tool_test

import (
	"testing"
	"time"

	"github.com/blufio/blufio/services/agent/tool"
)

var now = time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)

func TestTime(t *testing.T) {
	res, err := tool.Time{Location: time.FixedZone("CEST", 7200)}.Call(t.Context(), tool.Call{Now: now})
	if err != nil || res.Text != "Wednesday, 15 July 2026, 14:00:00 CEST (+02:00)" {
		t.Errorf("%q, %v", res.Text, err)
	}
}
