// SPDX-License-Identifier: MIT OR Apache-2.0

package keys

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
)

func TestRequestsAreChecked(t *testing.T) {
	r := newRig(t)
	sub := func(p ...string) bus.KeyRequest {
		return bus.KeyRequest{Name: "x", Role: bus.RoleExplicit, AllowSub: p}
	}
	pub := func(p ...string) bus.KeyRequest {
		return bus.KeyRequest{Name: "x", Role: bus.RoleExplicit, AllowPub: p}
	}
	for name, tt := range map[string]struct {
		q    bus.KeyRequest
		hint string // a part of it
	}{
		"no name":                 {bus.KeyRequest{Role: bus.RoleObserver}, "a-z"},
		"a name of two words":     {bus.KeyRequest{Name: "a.b", Role: bus.RoleObserver}, "a-z"},
		"no such role":            {bus.KeyRequest{Name: "x", Role: "god"}, "observer"},
		"a flag for a name":       {bus.KeyRequest{Name: "-n", Role: bus.RoleObserver}, "letter or digit first"},
		"a tool of the agent":     {bus.KeyRequest{Name: "recall", Role: bus.RoleTool}, "another name"},
		"too long":                {bus.KeyRequest{Name: "x", Role: bus.RoleObserver, Seconds: maxSeconds + 1}, "ten years"},
		"nothing allowed":         {bus.KeyRequest{Name: "x", Role: bus.RoleExplicit}, "--allow-sub"},
		"an operator with a list": {bus.KeyRequest{Name: "x", Role: bus.RoleOperator, AllowSub: []string{"evt.>"}}, "explicit"},
		"a channel of the daemon": {bus.KeyRequest{Name: "telegram", Role: bus.RoleChannel}, "another name"},
		"a fact mistyped":         {sub("evt.turn.complete"), "evt.turn.completed"},
		"a call mistyped":         {pub("ctl.statsu"), "ctl.status"},
		"hear a call":             {sub("ctl.status"), "msg.delta"},
		"hear everything":         {sub(">"), "msg.delta"},
		"hear answers":            {sub("_INBOX.>"), "write it like"},
		"state a fact":            {pub("evt.turn.completed"), "--allow-sub"},
		"state facts":             {pub("evt.>"), "--allow-sub"},
		"make keys":               {pub("ctl.keys.issue"), "one by one"},
		"make tokens":             {pub("ctl.token.*"), "one by one"},
		"all calls":               {pub("ctl.>"), "one by one"},
		"speak as the owner":      {pub("msg.receive"), "--role channel"},
		"stop any work":           {pub("msg.cancel"), "--role channel"},
		"all of a channel":        {pub("msg.>"), "--role channel"},
		"speak as the agent":      {pub("msg.send.telegram"), "ctl.status"},
		"leave to spend":          {pub("cost.reserve"), "cost.get"},
		"book costs":              {pub("cost.settle"), "cost.get"},
		"shed memory":             {pub("gov.shed.agent"), "ctl.status"},
		"read memory":             {pub("gov.*"), "ctl.status"},
		"JetStream":               {pub("$JS.API.>"), "write it like"},
		"not a subject":           {sub("evt. turn"), "write it like"},
		"too many":                {sub(slices.Repeat([]string{"evt.>"}, maxPatterns+1)...), "pattern"},
	} {
		_, _, err := r.issue(tt.q)
		var e *bus.Error
		if !errors.As(err, &e) || e.Code != bus.CodeInvalid || !strings.Contains(e.Hint, tt.hint) {
			t.Errorf("%s: %v", name, err)
			if e != nil {
				t.Logf("hint: %s", e.Hint)
			}
		}
	}
	for key, want := range map[string]bus.Code{r.bus.Device().PublicKey(): bus.CodeInvalid, "U123": bus.CodeInvalid, "": bus.CodeInvalid} {
		q := bus.KeyRequest{Name: "x", Role: bus.RoleObserver, PublicKey: key}
		if _, err := bus.KeyIssue.Ask(t.Context(), r.op, q); bus.CodeOf(err) != want {
			t.Errorf("public key %q: %v", key, err)
		}
	}
}

func TestPatternsAreTaken(t *testing.T) {
	r := newRig(t)
	q := bus.KeyRequest{Name: "x", Role: bus.RoleExplicit, AllowSub: []string{"blufio.v1.evt.turn.*", "evt.turn.*", "msg.delta.telegram"},
		AllowPub: []string{"ctl.queue.*", "cost.*", "ctl.status"}}
	_, k, err := r.issue(q)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"blufio.v1.ctl.queue.drop", "blufio.v1.cost.get", "blufio.v1.ctl.status"} {
		if !slices.Contains(k.Publish, want) {
			t.Errorf("may publish to %v", k.Publish)
		}
	}
	if len(k.Subscribe) != 3 {
		t.Errorf("may subscribe to %v", k.Subscribe)
	}
}

// FuzzPatterns: whatever is accepted is a subject that the contract knows, and gives no
// call of operators.
func FuzzPatterns(f *testing.F) {
	for _, p := range []string{"evt.>", "evt.turn.*", "ctl.status", "ctl.>", ">", "*", "", ".", "msg.send.x", "msg.delta.*", "$JS.>"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if full, err := each([]string{p}, hearable); err == nil && !bus.Hearable(full[0]) {
			t.Errorf("%q may be heard", full[0])
		}
		full, err := each([]string{p}, callable)
		if err != nil {
			return
		}
		if len(bus.Calls(full[0])) == 0 {
			t.Errorf("%q is no call", full[0])
		}
		for _, l := range bus.Contract() {
			if s := l.Spec(); (bus.OperatorOnly(s) || bus.ForChannels(s)) && bus.Covers(full[0], s.Subject()) {
				t.Errorf("%q is for operators or channels", full[0])
			}
		}
	})
}
