// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
)

// What cannot be stored of a look back is not asked for again at once, and is paid for all the same.
func TestExtractThatCannotBeStored(t *testing.T) {
	var looks atomic.Int64
	r := looking(t, func(string) (llm.Response, error) { looks.Add(1); return say("NOTHING"), nil })
	r.start()
	r.exec(`CREATE TRIGGER stuck BEFORE UPDATE OF extracted ON session BEGIN SELECT RAISE(ABORT, 'the disk is worn'); END`)
	r.chat("s", "hello")
	r.clock.add(time.Hour)
	r.until("it was looked at", func() bool { return looks.Load() == 1 })
	r.until("it is booked", func() bool { return r.number(`SELECT count(*) FROM cost_ledger WHERE purpose = 'recall'`) == 1 })
	for range 5 {
		r.chat("other", "hello") // the loop has had its turn, and more than once
	}
	if n := looks.Load(); n != 1 {
		t.Errorf("%d looks", n)
	}
	r.exec(`DROP TRIGGER stuck`)
	r.clock.add(time.Hour)
	r.until("it is looked at", func() bool { return r.number(`SELECT extracted_at FROM session WHERE name = 's'`) > 0 })
}

// A provider that is down, for however long, has no stretch of a conversation given up.
func TestExtractWaitsForAProvider(t *testing.T) {
	var looks atomic.Int64
	var up atomic.Bool
	r := looking(t, func(string) (llm.Response, error) {
		if looks.Add(1); up.Load() {
			return say(`{"text":"Ann's sister is called Bea","about":"","importance":0.9}`), nil
		}
		return llm.Response{}, bus.Errorf(bus.CodeUnavailable, "nothing answers there")
	})
	r.cfg.BreakerFailures = 100
	r.start()
	r.chat("s", "my sister is Bea")
	for n := int64(1); n <= 6; n++ {
		r.clock.add(4 * time.Hour)
		r.until("it was tried", func() bool {
			return r.number(`SELECT extract_tries FROM session WHERE name = 's'`) >= min(n, 4) || r.number(`SELECT extracted_at FROM session WHERE name = 's'`) > 0
		})
	}
	up.Store(true)
	r.clock.add(25 * time.Hour)
	r.until("the fact is known", func() bool { return len(r.facts("gateway:ann")) == 1 })
}

// newCountedRig has a model that says hello, a minute for each turn, and counts how often the model was asked.
func newCountedRig(t *testing.T) (*rig, *atomic.Int64) {
	asked := new(atomic.Int64)
	r := newRig(t, func(context.Context, llm.Request, func(string)) (llm.Response, error) {
		asked.Add(1)
		return say("hello"), nil
	})
	r.cfg.TurnTimeout = time.Minute
	return r, asked
}

// An answer that can never be stored is given up after the time of a turn: it does not keep its
// place and its conversation for ever. It is paid for, and the model is asked once.
func TestAnswerThatCanNeverBeStored(t *testing.T) {
	r, asked := newCountedRig(t)
	r.model.name = "dear"
	r.start()
	r.exec(`CREATE TRIGGER stuck BEFORE UPDATE OF state ON message WHEN NEW.state = 'answered' BEGIN SELECT RAISE(ABORT, 'the index is damaged'); END`)
	id := r.send("s", "hello")
	r.until("it is given up", func() bool {
		r.clock.add(10 * time.Second)
		return r.get(id).State == bus.StateDead
	})
	r.until("its call is booked", func() bool { return r.number(`SELECT count(*) FROM cost_ledger`) == 1 })
	if n := asked.Load(); n != 1 {
		t.Errorf("the model was asked %d times", n)
	}
	if got := r.wait(1)[0]; got.MessageID != id || !strings.Contains(got.Text, "cannot be stored") {
		t.Errorf("the person is told %+v", got)
	}
	if died := facts(r, bus.MessageDied); len(died) != 1 || died[0].Attempts != 1 {
		t.Errorf("it is told as %+v", died)
	}
	r.exec(`DROP TRIGGER stuck`)
	if got := r.chat("s", "hello again"); got.State != bus.StateAnswered {
		t.Errorf("the next one: %+v", got)
	}
}

// A disk that takes nothing for longer than a turn may last costs no answer.
func TestAnswerWaitsForTheDisk(t *testing.T) {
	r, asked := newCountedRig(t)
	log := &bustest.Text{}
	r.log = slog.New(slog.NewTextHandler(log, nil))
	r.start()
	r.exec(`CREATE TRIGGER stuck BEFORE UPDATE OF state ON message WHEN OLD.state = 'running' BEGIN SELECT RAISE(ABORT, 'the disk takes nothing'); END`)
	id := r.send("s", "hello")
	r.until("that is over", func() bool {
		r.clock.add(10 * time.Second)
		return strings.Count(log.String(), "answer not stored") > 20
	})
	r.exec(`DROP TRIGGER stuck`)
	if got := r.wait(1)[0]; got.MessageID != id || got.State != bus.StateAnswered || asked.Load() != 1 {
		t.Errorf("%+v, and the model was asked %d times", got, asked.Load())
	}
}

// A message of which something cannot be read is given up, and it can be dropped.
func TestUnreadableMessageIsGivenUp(t *testing.T) {
	for name, damage := range map[string]string{
		"its files":     `UPDATE message SET attachments = 'garbage' WHERE id = '%s'`,
		"an old answer": `INSERT INTO step (seq, round, payload) SELECT seq, 0, 'garbage' FROM message WHERE id = '%s'`,
	} {
		t.Run(name, func(t *testing.T) {
			first := make(chan struct{})
			r := newRig(t, func(ctx context.Context, q llm.Request, delta func(string)) (llm.Response, error) {
				<-first
				return echo(ctx, q, delta)
			})
			r.start()
			r.send("s", "first")
			id := r.send("s", "hello")
			r.exec(fmt.Sprintf(damage, id))
			close(first)
			r.until("it is given up", func() bool { return r.number(`SELECT count(*) FROM message WHERE id = ? AND state = 'dead'`, id) == 1 })
			if got := r.chat("s", "again"); got.State != bus.StateAnswered {
				t.Errorf("the next one: %+v", got)
			}
			if n := r.number(`SELECT count(*) FROM step`); n != 0 {
				t.Errorf("%d steps are left", n)
			}
			if got := r.wait(2)[1]; got.MessageID != id || !strings.Contains(got.Text, "cannot be read") {
				t.Errorf("the person is told %+v", got)
			}
			r.until("that is delivered", func() bool { return r.number(`SELECT count(*) FROM outbox WHERE state = 'pending'`) == 0 })
			if name == "its files" {
				if out := r.act(bus.QueueRetry, id, "nobody"); len(out.Refused) != 2 || out.Refused[0].Code != bus.CodeInvalid {
					t.Errorf("retried: %+v", out)
				}
			}
			if out := r.act(bus.QueueDrop, id); out.Messages != 1 {
				t.Errorf("dropped: %+v", out)
			}
		})
	}
}

// What cannot be read of the calls to be booked holds up none behind it, and is told once
// each, however many rounds find it.
func TestUnreadableSettlementHoldsUpNone(t *testing.T) {
	r := newRig(t, echo)
	var logged bustest.Text
	r.log = slog.New(slog.NewTextHandler(&logged, nil))
	r.model.name = "dear"
	r.start()
	r.exec(`INSERT INTO settlement (payload) VALUES ('garbage'), ('rubbish')`)
	for n := range 3 {
		r.chat("s", "hello")
		r.until("the call is booked", func() bool { return r.number(`SELECT count(*) FROM cost_ledger`) == int64(n+1) })
		r.until("only the garbage is left", func() bool { return r.number(`SELECT count(*) FROM settlement`) == 2 })
	}
	if n := strings.Count(logged.String(), "its settlement cannot be read"); n != 2 {
		t.Errorf("told %d times", n)
	}
}

// A summary that cannot be stored is not written anew with every turn, and is paid for.
func TestSummaryThatCannotBeStored(t *testing.T) {
	r, w := compacting(t)
	r.start()
	r.exec(`CREATE TRIGGER stuck BEFORE INSERT ON summary BEGIN SELECT RAISE(ABORT, 'the disk is worn'); END`)
	for n := range 20 {
		r.calmly("s", told(n))
	}
	_, asked := w.asked()
	if len(asked) == 0 || len(asked) > 7 {
		t.Errorf("%d summaries were written", len(asked))
	}
	r.until("all are booked", func() bool {
		return r.number(`SELECT count(*) FROM cost_ledger WHERE purpose = 'summary'`) == int64(len(asked))
	})
}

// What a person had forgotten is not picked out of the conversation again, whoever had it forgotten; what is said
// later is.
func TestForgottenIsNotExtractedAgain(t *testing.T) {
	for _, by := range []string{"the tool", "an operator"} {
		t.Run(by, func(t *testing.T) {
			seen := make(chan string, 10)
			r := newRig(t, func(ctx context.Context, q llm.Request, delta func(string)) (llm.Response, error) {
				if strings.Contains(q.System, "lasting facts") {
					seen <- last(q).Text
					return say(`{"text":"The key lies behind Wurzelwerk","about":"","importance":0.9}`), nil
				}
				return talker(ctx, q, delta)
			})
			r.extract = agent.ExtractDefaults()
			r.extract.Enable = true
			r.start()
			r.chat("s", `remember {"text":"The key lies behind Wurzelwerk"}`)
			first := r.facts("gateway:ann")
			if by == "the tool" {
				r.chat("s", `forget {"query":"Wurzelwerk"}`)
			} else if _, err := bus.RecallDrop.Ask(t.Context(), r.ask, bus.RecallForget{IDs: []string{first[0].ID}}); err != nil {
				t.Fatal(err)
			}
			r.clock.add(time.Hour)
			r.until("it was looked back at", func() bool { return r.number(`SELECT extracted_at FROM session WHERE name = 's'`) > 0 })
			if got := r.facts("gateway:ann"); len(got) != 0 {
				t.Errorf("%+v", got)
			}
			r.chat("s", "the key is behind Wurzelwerk again")
			r.clock.add(time.Hour)
			r.until("what is said later is kept", func() bool { return len(r.facts("gateway:ann")) == 1 })
			for len(seen) > 1 {
				<-seen
			}
			if got := <-seen; strings.Count(got, "PERSON:") != 1 {
				t.Errorf("%q", got)
			}
		})
	}
}

// A fact on its way to the recall room leaves nothing where it waited.
func TestForgettingIsRealOfWhatWaited(t *testing.T) {
	r := looking(t, func(string) (llm.Response, error) {
		return say(`{"text":"The key lies behind Wurzelwerk","about":"","importance":0.9}`), nil
	})
	r.start()
	r.chat("s", "where the key lies you know")
	r.clock.add(time.Hour)
	r.until("the fact is known", func() bool { return len(r.facts("gateway:ann")) == 1 })
	if _, err := bus.RecallDrop.Ask(t.Context(), r.ask, bus.RecallForget{Owner: "gateway:ann", All: true}); err != nil {
		t.Fatal(err)
	}
	r.until("the files have nothing of it", func() bool {
		for _, end := range []string{"", "-wal"} {
			data, err := os.ReadFile(r.path + end)
			if err != nil || bytes.Contains(data, []byte("Wurzelwerk")) {
				return false
			}
		}
		return true
	})
}
