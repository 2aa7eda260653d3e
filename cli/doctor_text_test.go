// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
)

// Where everything was skipped nobody knows whether all is well.
func TestDoctorSummaryOfNothing(t *testing.T) {
	s := &ward{waiting: 1}
	skipped := bus.Finding{Level: bus.LevelSkip}
	text := s.summary(bus.DoctorReport{Result: bus.LevelOK, Findings: []bus.Finding{skipped}})
	if strings.Contains(text, "well") || !strings.Contains(text, "nothing was checked") || !strings.Contains(text, "1 check needs one") {
		t.Errorf("it says %q", text)
	}
	text = s.summary(bus.DoctorReport{Result: bus.LevelOK, Findings: []bus.Finding{skipped, {Level: bus.LevelOK}}})
	if !strings.Contains(text, "all is well") {
		t.Errorf("it says %q", text)
	}
}
