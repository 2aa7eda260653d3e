// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "time"

// ReloadSchema names the shape of `blufio config reload --json`.
const ReloadSchema = "blufio.reload/1"

// MaxReloadKeys bounds each list of keys that is told of a reload; the rest is counted.
const MaxReloadKeys = 200

// ReloadRequest asks the daemon to read its configuration again, from where it came.
type ReloadRequest struct{}

// Reloaded says what came of it. With problems nothing has changed.
type Reloaded struct {
	Changed  []string        `json:"changed"`        // keys that count from now on
	Restart  []string        `json:"restart"`        // keys that are not as the daemon started, and wait for a restart
	More     int             `json:"more,omitempty"` // keys that found no place in these lists
	Problems []ConfigProblem `json:"problems"`       // what is wrong with the configuration
}

// ConfigProblem is one thing wrong with the configuration.
type ConfigProblem struct {
	Key     string `json:"key"`    // absent when it is the file itself
	Source  string `json:"source"` // file, env, flag or default
	Name    string `json:"name"`   // the file's path or the variable's name
	Line    int    `json:"line"`   // 0 outside files
	Column  int    `json:"column"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// ReloadedFact: a changed configuration was read. It names keys, never values.
type ReloadedFact struct {
	Time    time.Time `json:"time"`
	Changed []string  `json:"changed"` // keys that count from now on
	Restart []string  `json:"restart"` // keys that wait for a restart
	More    int       `json:"more,omitempty"`
}

// RefusedFact: the configuration was read again and is not valid; nothing has changed.
type RefusedFact struct {
	Time     time.Time `json:"time"`
	Problems int       `json:"problems"`
}
