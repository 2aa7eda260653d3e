// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// A message that ends the process takes nobody along: messages that two crashes
// have cut off are tried one at a time, so the third counts against the guilty one.
func TestLastAttemptsAreMadeAlone(t *testing.T) {
	var inside, most atomic.Int64
	next := make(chan struct{})
	r := newRig(t, func(ctx context.Context, q llm.Request, _ func(string)) (llm.Response, error) {
		if !strings.HasPrefix(last(q).Text, "suspect") {
			return say("free"), nil
		}
		now := inside.Add(1)
		defer inside.Add(-1)
		most.Store(max(most.Load(), now))
		select {
		case <-next:
			return say("innocent"), nil
		case <-ctx.Done():
			return llm.Response{}, ctx.Err()
		}
	})
	r.finish = 1
	r.start()
	const n = 5
	ids := make([]string, n)
	for i := range n {
		ids[i] = r.send(numbered(i), "suspect")
	}
	r.until("all run", func() bool { return inside.Load() == n })
	r.stopRoom()
	r.exec(`UPDATE message SET state = 'running', attempts = 2, forgiven = 0`)
	most.Store(0)
	r.startRoom()
	r.until("one runs", func() bool { return inside.Load() == 1 })
	if got := r.chat("other", "hello"); got.Text != "free" {
		t.Errorf("another session got %+v", got)
	}
	if begun := r.number(`SELECT count(*) FROM message WHERE attempts = 3`); begun > 1 {
		t.Errorf("%d of the last attempts are begun at one time", begun)
	}
	for range n {
		next <- struct{}{}
	}
	r.wait(n + 1)
	if got := most.Load(); got != 1 {
		t.Errorf("%d of the last attempts ran at one time", got)
	}
	for _, id := range ids {
		if m := r.get(id); m.State != bus.StateAnswered {
			t.Errorf("message %s is %s: %s", id, m.State, m.Reply)
		}
	}
}

// A room that starts again begins anew with its suspects.
func TestSuspectsSurviveARestartOfTheRoom(t *testing.T) {
	asked := make(chan struct{}, 8)
	next := make(chan struct{})
	r := newRig(t, func(ctx context.Context, _ llm.Request, _ func(string)) (llm.Response, error) {
		asked <- struct{}{}
		select {
		case <-next:
			return say("innocent"), nil
		case <-ctx.Done():
			return llm.Response{}, ctx.Err()
		}
	})
	r.finish = 1
	r.start()
	for i := range 3 {
		r.send(numbered(i), "suspect")
		<-asked
	}
	r.stopRoom()
	r.exec(`UPDATE message SET state = 'running', attempts = 2, forgiven = 0`)
	r.startRoom()
	<-asked
	r.stopRoom() // one runs, two wait
	r.startRoom()
	for range 3 {
		<-asked
		next <- struct{}{}
	}
	r.wait(3)
}
