// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/cost"
	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/recall"
	"github.com/blufio/blufio/services/roomtest"
)

// restored is a rig whose database can be set back.
type restored struct {
	*rig
	cut string // the backup
}

// backup takes the database as it is.
func (r *restored) backup() {
	r.t.Helper()
	r.cut = filepath.Join(r.t.TempDir(), "cut.db")
	if err := r.store.Copy(r.t.Context(), r.cut, nil); err != nil {
		r.t.Fatal(err)
	}
}

// restore stops the daemon, sets its database back, carries over and starts it again.
func (r *restored) restore(hold, blind bool) agent.Carried {
	r.t.Helper()
	r.stop()
	ctx := r.t.Context()
	old := roomtest.OpenStore(r.t, r.path, append(agent.Schemas(), cost.Schema, blob.Schema, recall.Schema)...)
	db := roomtest.OpenStore(r.t, r.cut, append(agent.Schemas(), cost.Schema, blob.Schema, recall.Schema)...)
	if blind {
		old = nil
	}
	carried, err := agent.CarryOver(ctx, old, db)
	if err != nil {
		r.t.Fatal(err)
	}
	if hold {
		if carried, err = agent.HoldBack(ctx, db, r.clock.now().UnixMilli()); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.path = r.cut
	r.start()
	return carried
}

// latch holds the model back for texts that wait, until it is opened.
type latch struct {
	open    chan struct{}
	waiting chan string
}

func (g *latch) complete(ctx context.Context, r llm.Request, delta func(string)) (llm.Response, error) {
	if strings.HasPrefix(last(r).Text, "wait") {
		select {
		case g.waiting <- last(r).Text:
		default:
		}
		select {
		case <-g.open:
		case <-ctx.Done():
			return llm.Response{}, ctx.Err()
		}
	}
	return echo(ctx, r, delta)
}

func newRestored(t *testing.T) (*restored, *latch) {
	g := &latch{make(chan struct{}), make(chan string, 10)}
	r := newRig(t, g.complete)
	r.finish = 50 * time.Millisecond // a stop does not wait for a model that does not answer
	return &restored{rig: r.start()}, g
}

func external(session, text, id string) bus.Message {
	m := message(session, text)
	m.ExternalID = id
	return m
}

func (r *restored) give(m bus.Message) bus.Accepted {
	r.t.Helper()
	acc, err := r.trySend(m)
	if err != nil {
		r.t.Fatal(err)
	}
	return acc
}

// delivered is how often each text came back.
func (r *restored) delivered() map[string]int {
	n := map[string]int{}
	for _, reply := range r.gateway.replies() {
		n[reply.Text]++
	}
	return n
}

// settled waits until nothing is open.
func (r *restored) settled() {
	r.t.Helper()
	r.until("nothing is open", func() bool {
		waiting, undelivered := r.agent.Remembered()
		return waiting+undelivered == 0
	})
}

// What was under way at the cut and has been answered since is not answered again, nor
// what came since: its source's id is known. What was promised and is owed still comes.
func TestNothingIsAnsweredTwiceAfterARestore(t *testing.T) {
	r, g := newRestored(t)
	r.chat("a", "before")
	running := r.give(external("a", "wait for me", "x1"))
	<-g.waiting
	queued := r.give(external("a", "next", "x2"))
	r.backup()
	close(g.open)
	r.wait(3)
	since := r.give(external("a", "since", "x3"))
	r.wait(4)
	r.settled()

	got := r.restore(false, false)
	if got.Answered != 2 || got.Delivered != 0 || got.Remembered != 1 || got.Taken != 0 || got.Open != 0 {
		t.Errorf("carried %+v", got)
	}
	for _, m := range []struct {
		bus.Message
		id string
	}{{external("a", "wait for me", "x1"), running.ID}, {external("a", "next", "x2"), queued.ID}, {external("a", "since", "x3"), since.ID}} {
		if acc := r.give(m.Message); !acc.Duplicate || acc.ID != m.id {
			t.Errorf("%s again: %+v, want a duplicate of %s", m.ExternalID, acc, m.id)
		}
	}
	if _, err := r.trySend(external("a", "another", "x3")); bus.CodeOf(err) != bus.CodeConflict {
		t.Errorf("another message under a known id: %v", err)
	}
	if m := r.get(running.ID); m.State != bus.StateAnswered || m.Reply != "echo wait for me" {
		t.Errorf("what was under way at the cut is %+v", m)
	}
	r.chat("a", "after")
	r.settled()
	for text, n := range r.delivered() {
		if n != 1 {
			t.Errorf("%q was delivered %d times", text, n)
		}
	}
}

// A channel that takes nothing has replies owed on both sides of the cut.
func TestRepliesOwedAfterARestore(t *testing.T) {
	r, _ := newRestored(t)
	away := func(bus.Reply) error { return errors.New("away") }
	r.gateway.refuse(away)
	for _, text := range []string{"one", "two"} {
		id := r.send("s"+text, text)
		r.until("it is answered", func() bool { return r.get(id).State == bus.StateAnswered })
	}
	r.backup()
	r.gateway.refuse(func(b bus.Reply) error {
		if b.Text == "echo one" {
			return nil
		}
		return away(b)
	})
	r.wait(1)
	id := r.send("three", "three")
	r.until("it is answered", func() bool { return r.get(id).State == bus.StateAnswered })
	r.until("one is noted", func() bool { _, undelivered := r.agent.Remembered(); return undelivered == 2 })
	got := r.restore(false, false)
	if got.Delivered != 1 || got.Taken != 1 || got.Open != 2 {
		t.Errorf("carried %+v", got)
	}
	r.gateway.refuse(nil)
	r.wait(3)
	r.settled()
	for _, text := range []string{"echo one", "echo two", "echo three"} {
		if n := r.delivered()[text]; n != 1 {
			t.Errorf("%q was delivered %d times", text, n)
		}
	}
}

// What was accepted since the cut and not answered is answered, with its files.
func TestAcceptedSinceIsAnsweredAfterARestore(t *testing.T) {
	r, g := newRestored(t)
	r.chat("a", "before")
	r.backup()
	info, err := r.blobs.Put(t.Context(), strings.NewReader(strings.Repeat("plan ", 100_000)), blob.Info{Name: "plan.txt", MediaType: "text/plain"})
	if err != nil {
		t.Fatal(err)
	}
	m := external("new", "wait and read", "y1")
	m.Attachments = []bus.Attachment{{ID: info.ID, Kind: bus.KindDocument, MediaType: info.MediaType, Name: info.Name, Bytes: info.Bytes}}
	acc := r.give(m)
	<-g.waiting
	got := r.restore(false, false)
	if got.Taken != 1 || got.Open != 1 || got.Remembered != 1 {
		t.Errorf("carried %+v", got)
	}
	close(g.open)
	r.until("it is answered", func() bool { return r.get(acc.ID).State == bus.StateAnswered })
	r.settled()
	data, err := r.blobs.Read(t.Context(), info.ID, 1<<20)
	if err != nil || len(data) != int(info.Bytes) {
		t.Errorf("the file has %d bytes of %d: %v", len(data), info.Bytes, err)
	}
	if again := r.give(m); !again.Duplicate || again.ID != acc.ID {
		t.Errorf("again: %+v", again)
	}
}

// Without the replaced database what was open carries on, or is held back for the operator.
func TestRestoreOnNothing(t *testing.T) {
	for _, hold := range []bool{false, true} {
		r, g := newRestored(t)
		id := r.send("a", "wait")
		<-g.waiting
		next := r.send("a", "next")
		r.backup()
		close(g.open)
		r.wait(2)
		r.settled()
		got := r.restore(hold, true)
		if !hold {
			if got.Open != 2 || got.Held != 0 {
				t.Errorf("carried %+v", got)
			}
			r.wait(4)
			r.settled()
			if st := r.get(id); st.State != bus.StateAnswered {
				t.Errorf("%+v", st)
			}
			continue
		}
		if got.Held != 2 {
			t.Errorf("held %+v", got)
		}
		for _, id := range []string{id, next} {
			if m := r.get(id); m.State != bus.StateDead {
				t.Errorf("%s is %s", id, m.State)
			}
		}
		out, err := bus.QueueRetry.Ask(t.Context(), r.ask, bus.QueueAction{IDs: []string{id}})
		if err != nil || out.Messages != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		r.until("it is answered", func() bool { return r.get(id).State == bus.StateAnswered })
	}
}

// A daemon that was backed up while it thought has not crashed.
func TestRestoreIsNoCrash(t *testing.T) {
	r, g := newRestored(t)
	id := r.send("a", "wait")
	<-g.waiting
	r.until("the mark is on disk", func() bool { return r.get(id).State == bus.StateRunning })
	r.backup()
	close(g.open)
	r.restore(false, true)
	st, err := bus.AgentStatus.Ask(t.Context(), r.ask, bus.AgentQuery{})
	if err != nil || st.Sessions.Interrupted != 0 {
		t.Errorf("%d interrupted, %v", st.Sessions.Interrupted, err)
	}
}

// The replaced database may be another's, or have lost the messages on purpose.
func TestRestoreOverAnother(t *testing.T) {
	r, g := newRestored(t)
	id := r.send("a", "wait")
	<-g.waiting
	r.backup()
	cut := r.cut
	close(g.open)
	r.wait(1)
	r.settled()

	t.Run("another's", func(t *testing.T) {
		other := roomtest.OpenStore(t, filepath.Join(t.TempDir(), "other.db"), append(agent.Schemas(), blob.Schema, recall.Schema)...)
		got, err := agent.CarryOver(t.Context(), other, openCopy(t, cut))
		if err != nil || got.Open != 1 || got.Answered != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("deleted there", func(t *testing.T) {
		first := r.send("a", "kept")
		r.until("it is answered", func() bool { return r.get(first).State == bus.StateAnswered })
		r.settled()
		r.backup()
		db := openCopy(t, r.cut)
		old := openCopy(t, r.cut)
		for store, text := range map[*sqlite.Store]string{
			db:  `UPDATE message SET state = 'queued', reply = '', finished_at = NULL WHERE id = '` + id + `'`,
			old: `DELETE FROM message WHERE id = '` + id + `'`,
		} {
			if err := store.Write(t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(text); return err }); err != nil {
				t.Fatal(err)
			}
		}
		got, err := agent.CarryOver(t.Context(), old, db)
		if err != nil || got.Open != 0 || got.Answered != 1 {
			t.Errorf("%+v, %v", got, err)
		}
		var state string
		if err := db.QueryRow(t.Context(), `SELECT state FROM message WHERE id = ?`, id).Scan(&state); err != nil || state != bus.StateDead {
			t.Errorf("what was deleted is %s, %v", state, err)
		}
	})
}

func openCopy(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	if err := sqlite.CopyFile(t.Context(), path, to, nil); err != nil {
		t.Fatal(err)
	}
	return roomtest.OpenStore(t, to, append(agent.Schemas(), cost.Schema, blob.Schema, recall.Schema)...)
}

// A restored conversation goes on with the summary that the backup has, also when the
// database that it replaces had a newer one; and what it says is found.
func TestRestoredSummary(t *testing.T) {
	base, w := compacting(t)
	r := &restored{rig: base.start()}
	sent := 0
	until := func(summaries int) {
		for ; len(facts(r.rig, bus.ContextCompacted)) < summaries; sent++ {
			r.calmly("s", told(sent))
		}
	}
	until(1)
	to := r.number(`SELECT to_seq FROM summary`)
	r.backup()
	until(3)
	r.restore(false, false)
	if n := r.number(`SELECT to_seq FROM summary`); n != to {
		t.Errorf("the summary reaches to %d, in the backup to %d", n, to)
	}
	r.calmly("s", "go on")
	questions, _ := w.asked()
	if got := lines(questions[len(questions)-1]); !strings.Contains(got[0], "Spoken of: 100") {
		t.Errorf("the model reads %q", got)
	}
	until(2)
	if n := r.number(`SELECT count(*) FROM message_words`) - r.number(`SELECT count(*) FROM message WHERE state = 'answered' AND NOT aside`); n != 0 {
		t.Errorf("%d too many are in the index", n)
	}
}
