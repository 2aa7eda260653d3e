// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"context"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"
)

// meter reads one of the room's metrics, the sum of its series.
func meter(t *testing.T, s *Service, name string) (sum float64) {
	t.Helper()
	r := prometheus.NewRegistry()
	for _, c := range s.meters.all() {
		if err := r.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	return 0 // it has no series yet
}

// What the hub may ask at once has a bound; more are told so.
func TestQuestionsOfTheHubAreBounded(t *testing.T) {
	t.Parallel()
	o := newOutside(t, "")
	a, owner := o.join("kitchen"), o.connect()
	door := newDoor(t.Context(), a.room, a.server.Leaf())
	free := make(chan struct{})
	_, err := owner.Subscribe("asked", func(m *nats.Msg) {
		door.knock(m, func(context.Context, []byte) ([]byte, error) { <-free; return nil, nil })
	})
	o.check(err)
	answers, err := owner.SubscribeSync(owner.NewInbox())
	o.check(err)
	const most = doorWorkers + doorQueue
	for range most + 1 {
		o.check(owner.PublishRequest("asked", answers.Subject, nil))
	}
	m, err := answers.NextMsg(10 * time.Second)
	o.check(err)
	if got := m.Header.Get(micro.ErrorCodeHeader); got != string(bus.CodeBusy) {
		t.Errorf("one too many: %q", got)
	}
	for _, name := range []string{"blufio_hub_questions", "blufio_hub_questions_limit"} {
		if got := meter(t, a.room, name); got != most {
			t.Errorf("%s is %v, want %d", name, got, most)
		}
	}
	close(free)
	door.close()
	if got := meter(t, a.room, "blufio_hub_questions"); got != 0 {
		t.Errorf("afterwards %v are answered", got)
	}
}
