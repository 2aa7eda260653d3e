// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// Pictures in memory are bounded: what one message has too much of is known by name,
// and a turn with pictures waits for another's, while one without does not.
func TestPicturesAreBounded(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, func(ctx context.Context, q llm.Request, _ func(string)) (llm.Response, error) {
		if len(last(q).Images) > 0 {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return say("I see"), nil
	})
	r.cfg.PicturesMB = 2 // each of these counts as one
	r.start()
	for _, session := range []string{"first", "second"} {
		m := message(session, "")
		for n := range 3 {
			m.Attachments = append(m.Attachments, r.keep(bus.KindImage, fmt.Sprintf("%d.jpg", n), "image/jpeg", []byte(fmt.Sprint(session, n))))
		}
		if _, err := r.trySend(m); err != nil {
			t.Fatal(err)
		}
		r.until("one turn has its pictures", func() bool { return r.agent.Pictures() == 2 && len(r.model.asked()) == 1 })
	}
	r.chat("third", "no picture")
	asked := r.model.asked()
	if q := last(asked[0]); len(asked) != 2 || len(q.Images) != 2 || !strings.Contains(q.Text, "[image: 2.jpg (image/jpeg") {
		t.Errorf("%d models are asked; the first sees %d pictures and reads %q", len(asked), len(q.Images), q.Text)
	}
	close(release)
	r.wait(3)
	if asked = r.model.asked(); len(asked) != 3 || len(last(asked[2]).Images) != 2 {
		t.Errorf("%d questions, the last with %d pictures", len(asked), len(last(asked[2]).Images))
	}
	r.until("they are gone", func() bool { return r.agent.Pictures() == 0 })
}

// A channel takes only so many replies at once; the others wait.
func TestDeliveriesAreBounded(t *testing.T) {
	r := newRig(t, echo)
	r.cfg.MaxDeliveries = 2
	var now, most atomic.Int64
	hold := make(chan struct{})
	r.gateway.refuse(func(bus.Reply) error {
		defer now.Add(-1)
		for n := now.Add(1); n > most.Load(); {
			most.Store(n)
		}
		<-hold
		return nil
	})
	r.start()
	for n := range 5 {
		r.send(fmt.Sprint("s", n), "hello")
	}
	r.until("all are answered, and two on their way", func() bool {
		return now.Load() == 2 && r.number(`SELECT count(*) FROM message WHERE state = 'answered'`) == 5
	})
	close(hold)
	r.wait(5)
	if n := most.Load(); n != 2 {
		t.Errorf("%d were on their way at once", n)
	}
}
