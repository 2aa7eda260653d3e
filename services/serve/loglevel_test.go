// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

func TestLogLevelForAWhile(t *testing.T) {
	clock, now := time.Unix(1000, 0), ""
	o := Options{SetLogLevel: func(l string) { now = l }, Now: func() time.Time { return clock }}
	o.Config.Log.Level = "warn"
	l := newLeveler(o)
	if got, err := l.ask(bus.LogSetting{}); err != nil || got.Level != "warn" || got.Configured != "warn" || got.Until != nil || now != "" {
		t.Errorf("%+v %v, set %q", got, err, now)
	}
	got, err := l.ask(bus.LogSetting{Level: "debug", Seconds: 60})
	if err != nil || now != "debug" || got.Configured != "warn" || !got.Until.Equal(clock.Add(time.Minute)) {
		t.Errorf("%+v %v, set %q", got, err, now)
	}
	clock = clock.Add(59 * time.Second)
	if l.tick(); now != "debug" {
		t.Errorf("a second too early it is %q", now)
	}
	clock = clock.Add(time.Second)
	if l.tick(); now != "warn" {
		t.Errorf("at its end it is %q", now)
	}
	if _, err := l.ask(bus.LogSetting{Level: "error"}); err != nil || now != "error" {
		t.Error(now, err)
	}
	clock = clock.Add(24 * time.Hour)
	if l.tick(); now != "error" {
		t.Errorf("without an end it ends, with %q", now)
	}
	if l.configure("info"); now != "info" {
		t.Errorf("a reload leaves it at %q", now)
	}
	for _, s := range []bus.LogSetting{{Level: "loud"}, {Level: "debug", Seconds: -1}, {Level: "debug", Seconds: 1 << 40}, {Seconds: 5}} {
		if _, err := l.ask(s); bus.CodeOf(err) != bus.CodeInvalid || now != "info" {
			t.Errorf("%+v: %v, and it is %q", s, err, now)
		}
	}
	if _, err := newLeveler(Options{}).ask(bus.LogSetting{Level: "debug"}); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Error(err)
	}
}
