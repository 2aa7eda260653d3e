// SPDX-License-Identifier: MIT OR Apache-2.0

package control

import (
	"context"

	"github.com/blufio/blufio/bus"
)

// part answers ctl.report.
func (s *Service) part(_ context.Context, q bus.ReportQuery) (bus.ReportPart, error) {
	if s.d.Part == nil {
		return bus.ReportPart{}, bus.Errorf(bus.CodeUnavailable, "this daemon gives no report")
	}
	return s.d.Part(q.Part)
}
