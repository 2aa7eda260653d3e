// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import "github.com/blufio/blufio/bus"

// hysteresis is how far below its threshold a level is left, in points of
// percent.
const hysteresis = 5

// levelAfter is the level of a reading, given the level before it. The baseline
// weighs on neither side: thresholds are percentages of what is left beside it.
func (c Config) levelAfter(before string, m bus.Memory) string {
	used, room := m.RSS-m.Baseline, m.Limit-m.Baseline
	reached := func(percent int) bool { return used*100 >= room*int64(percent) }
	holds := func(percent int) bool { return reached(percent - hysteresis) }
	switch {
	case reached(c.CriticalPercent), before == bus.PressureCritical && holds(c.CriticalPercent):
		return bus.PressureCritical
	case reached(c.WarnPercent), before != bus.PressureNormal && holds(c.WarnPercent):
		return bus.PressureWarn
	}
	return bus.PressureNormal
}

// rank numbers the levels for the gauge: 0, 1, 2.
func rank(level string) float64 {
	switch level {
	case bus.PressureWarn:
		return 1
	case bus.PressureCritical:
		return 2
	}
	return 0
}
