// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "time"

// LogLevels are the levels of a log, from the one that says most.
func LogLevels() []string { return []string{"debug", "info", "warn", "error"} }

// LogSetting asks for another level of the daemon's log, for a while: until Seconds are
// over, the configuration is read again, or the daemon ends. The configuration itself
// stays as it is. Without a level it only asks.
type LogSetting struct {
	Level   string `json:"level,omitempty"`   // debug, info, warn or error
	Seconds int64  `json:"seconds,omitempty"` // 0: no end by time; at most a week
}

// LogLevel is the level of the log now.
type LogLevel struct {
	Level      string     `json:"level"`
	Configured string     `json:"configured"` // log.level, which counts again afterwards
	Until      *time.Time `json:"until"`      // null: no end by time
}
