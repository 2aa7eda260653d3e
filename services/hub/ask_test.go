// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/nats-io/nats.go"
)

func (d *daemon) ask(node, call string) (bus.NodeAnswer, error) {
	return bus.NodeAsk.Ask(d.t.Context(), d.cli, bus.NodeQuestion{Node: node, Call: call})
}

// Without a hub the room is idle and says what is missing.
func TestWithoutAHub(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	room := New(Deps{Server: b.Server(), Store: roomtest.Store(t, Schema), Logger: bustest.Logger(t), Now: time.Now})
	roomtest.Start(t, b, room)
	cli := b.Operator(t, bus.NodeAsk, bus.NodeList)
	_, asked := bus.NodeAsk.Ask(t.Context(), cli, bus.NodeQuestion{Node: "kitchen", Call: "ctl.status"})
	_, listed := bus.NodeList.Ask(t.Context(), cli, bus.NodesQuery{})
	for _, err := range []error{asked, listed} {
		var e *bus.Error
		if !errors.As(err, &e) || e.Code != bus.CodeUnavailable || !strings.Contains(e.Hint, "[bus.leaf]") {
			t.Errorf("%v", err)
		}
	}
	if p := room.health(); len(p) > 0 || meter(t, room, "blufio_hub_connected") != 0 || meter(t, room, "blufio_hub_behind") != 0 {
		t.Errorf("%v", p)
	}
}

// One daemon asks another one, and learns why there is no answer.
func TestAskAnother(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "")
	a := o.join("kitchen", func(_ *embedded.Config, s *Service) { s.bounds.askWait = time.Second })
	b := o.join("garage")
	bustest.Eventually(t, "they are joined", func() bool { _, err := a.ask("garage", "ctl.status"); return err == nil })
	got, err := a.ask("garage", "ctl.status")
	var st bus.Status
	if err != nil || json.Unmarshal(got.Answer, &st) != nil || st.Node != "garage" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, tt := range []struct {
		node, call string
		want       bus.Code
	}{
		{"attic", "ctl.status", bus.CodeNotFound},
		{"garage", "ctl.token.issue", bus.CodeDenied},
		{"garage", "ctl.node.ask", bus.CodeDenied},
		{"garage", "ctl.hello", bus.CodeDenied},
		{"gar.age", "ctl.status", bus.CodeInvalid},
		{"*", "ctl.status", bus.CodeInvalid},
		{"", "ctl.status", bus.CodeInvalid},
	} {
		began := time.Now()
		if _, err := a.ask(tt.node, tt.call); bus.CodeOf(err) != tt.want || time.Since(began) > 2*time.Second {
			t.Errorf("%s of %s: %v after %s", tt.call, tt.node, err, time.Since(began))
		}
	}
	// Others on the hub may answer for a daemon what they like.
	owner := o.connect()
	replies := map[string]*nats.Msg{
		"liar":   {Data: []byte("no JSON")},
		"sick":   bus.ReplyMsg("", nil, bus.Errorf(bus.CodeBusy, "not now\x1b[2J").WithHint("later")),
		"silent": nil,
	}
	for name, reply := range replies {
		_, err := owner.Subscribe(bus.NodeSubject(name, "ctl.>"), func(m *nats.Msg) {
			if strings.HasSuffix(m.Subject, "hello") {
				_ = m.Respond(nil)
			} else if reply != nil {
				_ = m.RespondMsg(reply)
			}
		})
		o.check(err)
	}
	o.check(owner.Flush())
	bustest.Eventually(t, "they are known", func() bool { _, err := a.ask("liar", "ctl.status"); return err == nil })
	if got, err := a.ask("liar", "ctl.status"); err != nil || got.Error == nil || got.Error.Code != bus.CodeInternal {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := a.ask("sick", "ctl.status"); err != nil || got.Error == nil || got.Error.Code != bus.CodeBusy || got.Error.Message != "not now [2J" || got.Error.Hint != "later" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := a.ask("silent", "ctl.status"); bus.CodeOf(err) != bus.CodeTimeout || !strings.Contains(err.Error(), "is on the hub") {
		t.Errorf("%v", err)
	}
	b.stop()
	bustest.Eventually(t, "garage has gone", func() bool { _, err := a.ask("garage", "ctl.status"); return bus.CodeOf(err) == bus.CodeNotFound })
	o.stop()
	bustest.Eventually(t, "the hub has gone", func() bool { _, err := a.ask("garage", "ctl.status"); return bus.CodeOf(err) == bus.CodeUnavailable })
	if got, err := a.ask("kitchen", "ctl.status"); err != nil || got.Error != nil {
		t.Errorf("its own: %+v, %v", got, err)
	}
	if _, err := bus.NodeList.Ask(t.Context(), a.cli, bus.NodesQuery{}); bus.CodeOf(err) != bus.CodeUnavailable || !strings.Contains(err.Error(), "does not reach its hub") {
		t.Errorf("who is there, without the hub: %v", err)
	}
}

// The roll call is bounded in number, size and time, and takes no nonsense.
func TestRollIsBounded(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "")
	d := o.join("kitchen", func(_ *embedded.Config, s *Service) { s.bounds.rollMost = 20 })
	bustest.Eventually(t, "it is joined", func() bool { return d.server.HubConnected() })
	owner := o.connect()
	var answers atomic.Pointer[[][]byte]
	_, err := owner.Subscribe(bus.NodesHello, func(*nats.Msg) {
		for _, data := range *answers.Load() {
			var row bus.NodeRow
			if json.Unmarshal(data, &row) != nil || !bus.ValidToken(row.Node) {
				row.Node = "odd"
			}
			_ = owner.Publish(bus.NodeHere(row.Node), data)
		}
	})
	o.check(err)
	o.check(owner.Flush())
	row := func(i int) []byte {
		return fmt.Appendf(nil, `{"node":"n%d","id":"i","state":"healthy","version":"1"}`, i)
	}
	roll := func(data ...[]byte) bus.Nodes {
		t.Helper()
		answers.Store(&data)
		n, err := bus.NodeList.Ask(t.Context(), d.cli, bus.NodesQuery{})
		o.check(err)
		return n
	}
	bustest.Eventually(t, "the owner is heard", func() bool { return len(roll(row(1)).Nodes) == 2 })
	_, err = owner.Subscribe(bus.NodesHello, func(m *nats.Msg) { // what is said under another name, or in an inbox
		_ = owner.Publish(bus.NodeHere("n1"), []byte(`{"node":"forged","id":"i","state":"healthy","version":"1"}`))
		_ = m.Respond([]byte(`{"node":"forged","id":"i","state":"healthy","version":"1"}`))
	})
	o.check(err)
	o.check(owner.Flush())
	n := roll(row(1), row(1), []byte("nonsense"), []byte(`{"node":"UP","id":"i","state":"healthy"}`), []byte(`{"node":"x","id":"i","state":"well"}`),
		[]byte(`{"node":"x","id":"","state":"healthy"}`), []byte(`{"node":"x","id":"i","state":"healthy","version":"\u001b[2J"}`), make([]byte, 4000), row(2))
	if len(n.Nodes) != 3 || n.More {
		t.Errorf("%+v", n)
	}
	var many [][]byte
	for i := range 30 {
		many = append(many, row(i))
	}
	if n := roll(many...); len(n.Nodes) != 20 || !n.More {
		t.Errorf("%d, %v", len(n.Nodes), n.More)
	}
}

// Four thousand long answers fit into what the bus carries.
func TestRollFitsTheBus(t *testing.T) {
	r := roll{most: defaults.rollMost, seen: map[string]bool{}}
	word := strings.Repeat("x", 58)
	full := false
	for i := 0; i < defaults.rollMost+1 && !full; i++ {
		_, full = r.add(fmt.Sprintf("%s%04d", word, i), fmt.Appendf(nil, `{"node":"%s%04d","id":"%[1]s","state":"degraded","version":"%[1]s","rss_bytes":1,"limit_bytes":2,"today_microusd":3}`, word, i))
	}
	data, err := json.Marshal(r.Nodes)
	if err != nil || !full || !r.More || len(data) > 1<<20-10<<10 || len(r.Nodes.Nodes) < 2000 {
		t.Errorf("%d rows, %d bytes, %v", len(r.Nodes.Nodes), len(data), err)
	}
}

// A room that has ended answers that it has.
func TestAskedAfterTheEnd(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "")
	d := o.join("kitchen")
	d.stop()
	if _, err := d.room.ask(context.Background(), bus.NodeQuestion{Node: "kitchen", Call: "ctl.status"}); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Error(err)
	}
}
