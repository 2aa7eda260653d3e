// SPDX-License-Identifier: MIT OR Apache-2.0

package doctor

import (
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"golang.org/x/sys/unix"
)

// What the kernel says of the clock, and what it says to who may not ask.
func TestClock(t *testing.T) {
	for name, c := range map[string]struct {
		state int
		clock unix.Timex
		err   error
		level string
		seen  string
	}{
		"kept":         {0, unix.Timex{Maxerror: 2000}, nil, bus.LevelOK, "2 ms"},
		"nobody":       {unix.TIME_ERROR, unix.Timex{}, nil, bus.LevelInfo, "nothing sets the clock"},
		"not yet":      {0, unix.Timex{Status: unix.STA_UNSYNC}, nil, bus.LevelInfo, "nothing sets the clock"},
		"in the unit":  {-1, unix.Timex{}, unix.EPERM, bus.LevelSkip, "timedatectl"},
		"another call": {-1, unix.Timex{}, unix.ENOSYS, bus.LevelSkip, unix.ENOSYS.Error()},
	} {
		if got := judgeClock(c.state, c.clock, c.err); got.Level != c.level || !strings.Contains(got.Seen, c.seen) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
