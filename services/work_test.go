// SPDX-License-Identifier: MIT OR Apache-2.0

package services_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services"
)

func TestWork(t *testing.T) {
	waits := func(ctx context.Context) error { <-ctx.Done(); return nil }
	echoes := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	breaks := func(context.Context) error { return errBroken }
	panics := func(context.Context) error { panic("oh") }
	returns := func(context.Context) error { return nil }
	tests := map[string]struct {
		loops []func(context.Context) error
		want  string
	}{
		"nothing to do":            {nil, ""},
		"all return":               {[]func(context.Context) error{returns, returns}, ""},
		"an error ends the others": {[]func(context.Context) error{waits, breaks, waits}, "broken"},
		"the first error is kept":  {[]func(context.Context) error{echoes, breaks, echoes}, "broken"},
		"a panic ends the others":  {[]func(context.Context) error{waits, panics}, "panic: oh\n"},
		"one may return before":    {[]func(context.Context) error{returns, breaks}, "broken"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := services.Work(t.Context(), tt.loops...)
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := services.Work(ctx, waits, waits); err != nil {
		t.Errorf("after an ordered end: %v", err)
	}
}

func TestContain(t *testing.T) {
	if err := services.Contain(func() error { return errBroken }); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
	err := services.Contain(func() error { panic("oh") })
	if err == nil || !strings.Contains(err.Error(), "work_test.go") {
		t.Errorf("no stack: %v", err)
	}
}

// A room that runs and sees something wrong is degraded, and so is its channel.
func TestReport(t *testing.T) {
	problem := []bus.Problem{{Code: "cold", Title: "it is cold", Hint: "close the window"}}
	unwell := calm("gateway")
	unwell.door.Health = func() []bus.Problem { return problem }
	unwell.door.Channel = func() bus.Channel { return bus.Channel{State: bus.Healthy} }
	quiet := calm("terminal")
	quiet.door.Channel = func() bus.Channel { return bus.Channel{State: bus.Healthy} }
	h := open(t, bustest.New(t), nil, calm("one"), unwell, quiet)
	wait(t, h.ready)
	rep := h.Report()
	if len(rep.Services) != 3 || rep.Services[0].State != bus.Healthy || rep.Services[0].Problems == nil {
		t.Errorf("%+v", rep.Services)
	}
	if s := rep.Services[1]; s.Name != "gateway" || s.State != bus.Degraded || len(s.Problems) != 1 || services.NotRunning(s.Problems[0]) {
		t.Errorf("%+v", s)
	}
	want := []bus.Channel{{Name: "gateway", State: bus.Degraded}, {Name: "terminal", State: bus.Healthy}}
	if len(rep.Channels) != 2 || rep.Channels[0] != want[0] || rep.Channels[1] != want[1] {
		t.Errorf("%+v", rep.Channels)
	}
	if err := h.end(t); err != nil {
		t.Error(err)
	}
	for _, c := range h.Report().Channels {
		if c.State != bus.Stopped {
			t.Errorf("after the stop: %+v", c)
		}
	}
}

// Before and while it starts a room does not run.
func TestReportBeforeTheStart(t *testing.T) {
	h := build(t, bustest.New(t), nil, calm("one"))
	st := h.status("one")
	if st.State != bus.Degraded || len(st.Problems) != 1 || st.Problems[0].Code != "room_starting" || !services.NotRunning(st.Problems[0]) {
		t.Errorf("%+v", st)
	}
}
