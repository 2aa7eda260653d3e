// SPDX-License-Identifier: MIT OR Apache-2.0

package bus_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats.go"
)

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		outer, inner string
		want         bool
	}{
		{"a.b", "a.b", true}, {"a.b", "a.c", false}, {"a.b", "a", false}, {"a", "a.b", false},
		{"a.*", "a.b", true}, {"a.*", "a.*", true}, {"a.b", "a.*", false}, {"a.*", "a.b.c", false},
		{"a.>", "a.b", true}, {"a.>", "a.b.c", true}, {"a.>", "a.*", true}, {"a.>", "a.>", true}, {"a.>", "a", false},
		{"a.*", "a.>", false}, {"a.*.c", "a.b.>", false}, {">", "a", true}, {"*", ">", false}, {"a.*.c", "a.*.c", true},
	} {
		if got := bus.Covers(tt.outer, tt.inner); got != tt.want {
			t.Errorf("%s covers %s: %v", tt.outer, tt.inner, got)
		}
	}
}

// FuzzCovers: what covers a pattern matches whatever the pattern matches.
func FuzzCovers(f *testing.F) {
	f.Add("a.>", "a.*", "b.c")
	f.Add("a.*", "a.>", "b")
	f.Add("", ".", "")
	f.Fuzz(func(t *testing.T, outer, inner, word string) {
		subject := strings.NewReplacer("*", word, ">", word).Replace(inner)
		if strings.ContainsAny(word, ".*>") || word == "" || !bus.Covers(inner, subject) {
			return // nothing to compare
		}
		if bus.Covers(outer, inner) && !bus.Covers(outer, subject) {
			t.Errorf("%q covers %q, which matches %q", outer, inner, subject)
		}
	})
}

func TestCalls(t *testing.T) {
	for pattern, want := range map[string][]string{
		"blufio.v1.ctl.status":        {"blufio.v1.ctl.status"},
		"blufio.v1.ctl.queue.*":       {"blufio.v1.ctl.queue.list", "blufio.v1.ctl.queue.retry", "blufio.v1.ctl.queue.drop"},
		"blufio.v1.agent.*":           {"blufio.v1.agent.sessions", "blufio.v1.agent.history", "blufio.v1.agent.person"}, // agent.status is control's
		"blufio.v1.msg.>":             nil,                                                                               // a channel's own calls, and the agent's
		"blufio.v1.msg.receive":       nil,
		"blufio.v1.msg.send.telegram": nil,
		"blufio.v1.cost.*":            {"blufio.v1.cost.get"},
		"blufio.v1.gov.>":             nil,
		"blufio.v1.ctl.keys.>":        nil,
		"blufio.v1.ctl.token.issue":   nil,
		"blufio.v1.evt.>":             nil,
		"blufio.v1.msg.delta.x":       nil,
		"nothing":                     nil,
	} {
		if got := bus.Calls(pattern); !slices.Equal(got, want) {
			t.Errorf("%s: %v", pattern, got)
		}
	}
	for _, subject := range bus.Calls(">") {
		if strings.Contains(subject, "*") {
			t.Errorf("%s is of many rooms", subject)
		}
	}
	if all := bus.Calls(">"); slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, ".keys.") }) {
		t.Errorf("all are %v", all)
	}
}

// An operator may choose where an answer goes, but not have a room state a fact: such a
// request is neither worked on nor answered, and is counted.
func TestAnswersGoToInboxesOnly(t *testing.T) {
	b := bustest.New(t)
	nc, err := b.Server().ConnectHouse("control")
	if err != nil {
		t.Fatal(err)
	}
	var worked, dropped atomic.Int64
	room := bus.NewConn(nc, bus.Options{Name: "control", Logger: bustest.Logger(t), Hooks: bus.Hooks{Dropped: func(reason string) {
		if reason == "denied" {
			dropped.Add(1)
		}
	}}})
	t.Cleanup(func() { _ = room.Drain(context.WithoutCancel(t.Context())) })
	err = room.Handle(t.Context(), bus.StatusGet.Answer(func(context.Context, bus.StatusQuery) (bus.Status, error) {
		worked.Add(1)
		return bus.Status{}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	spy, err := b.Server().ConnectHouse("spy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(spy.Close)
	heard, err := spy.SubscribeSync(bus.Prefix + ">")
	if err != nil {
		t.Fatal(err)
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	operator := b.Operator(t, bus.StatusGet)
	targets := []string{"blufio.v1.evt.cost.recorded", "blufio.v1.ctl.keys.revoke", "$JS.API.STREAM.PURGE.EVENTS", "_INBOX", "blufio.v1.msg.receive"}
	for _, target := range targets {
		if err := operator.NATS().PublishRequest(bus.StatusGet.Spec().Subject(), target, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bus.StatusGet.Ask(t.Context(), operator, bus.StatusQuery{}); err != nil {
		t.Fatal(err)
	}
	if worked.Load() != 1 || dropped.Load() != int64(len(targets)) {
		t.Errorf("%d were worked on, %d counted", worked.Load(), dropped.Load())
	}
	for range len(targets) + 1 {
		if m, err := heard.NextMsg(nats.DefaultTimeout); err != nil || m.Subject != bus.StatusGet.Spec().Subject() {
			t.Errorf("heard %v, %v", m, err)
		}
	}
	if n, _, _ := heard.Pending(); n > 0 {
		t.Errorf("%d more were heard", n)
	}
}
