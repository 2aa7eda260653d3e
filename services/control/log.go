// SPDX-License-Identifier: MIT OR Apache-2.0

package control

import (
	"context"

	"github.com/blufio/blufio/bus"
)

// logLevel answers ctl.log. That somebody has changed it stands in the log.
func (s *Service) logLevel(_ context.Context, q bus.LogSetting) (bus.LogLevel, error) {
	if s.d.LogLevel == nil {
		return bus.LogLevel{}, bus.Errorf(bus.CodeUnavailable, "the log of this daemon has one level")
	}
	l, err := s.d.LogLevel(q)
	if err == nil && q.Level != "" {
		s.d.Logger.Warn("the log has another level", "service", "control", "level", l.Level, "configured", l.Configured, "until", l.Until)
	}
	return l, err
}
