// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/tool"
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
	r.cfg.PicturesMB = 2
	r.start()
	for _, session := range []string{"first", "second"} {
		m := message(session, "")
		for n := range 3 {
			m.Attachments = append(m.Attachments, r.keep(bus.KindImage, fmt.Sprintf("%d.jpg", n), "image/jpeg", slices.Concat(make([]byte, 1<<20-16), fmt.Appendf(nil, "%16s", fmt.Sprint(session, n)))))
		}
		if _, err := r.trySend(m); err != nil {
			t.Fatal(err)
		}
		r.until("one turn has its pictures", func() bool { held, _ := r.agent.Held(); return held == 2<<20 && len(r.model.asked()) == 1 })
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
	r.until("they are gone", func() bool { held, _ := r.agent.Held(); return held == 0 })
}

// What tools are asked and bring back, and text files, have one bound for all turns: what
// finds no room is cut and says so, and a turn with files waits. A turn that is taken up
// again holds what it held.
func TestMaterialIsBounded(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, func(ctx context.Context, q llm.Request, _ func(string)) (llm.Response, error) {
		switch said, rounds := q.Messages[0].Text, rounds(q); {
		case said == "greedy" && rounds < 7:
			return bulky(16, `{}`), nil
		case said == "greedy":
			select {
			case <-release:
			case <-ctx.Done():
				return llm.Response{}, ctx.Err()
			}
		case said == "modest" && rounds == 0:
			return bulky(2, `{}`, strings.Repeat(" ", 20<<10)+`{}`), nil
		}
		return say("done"), nil
	})
	held := r.bulky()
	r.send("first", "greedy")
	r.until("a turn holds all there is", func() bool { return held() == 1<<20 && len(r.model.asked()) == 8 })
	r.stopRoom()
	r.startRoom()
	r.until("it holds that again", func() bool { return held() == 1<<20 && len(r.model.asked()) == 9 })
	if m := scrape(t, r.agent); m["blufio_material_bytes"] != 1<<20 || m["blufio_material_bytes_limit"] != 1<<20 {
		t.Errorf("%v of %v", m["blufio_material_bytes"], m["blufio_material_bytes_limit"])
	}
	resumed := r.model.asked()[8]
	if res := last(resumed).Results; len(res[15].Text) > 200 || !strings.HasSuffix(res[15].Text, "(cut: too much is being read at this moment)") {
		t.Errorf("what was too much is %q", res[15].Text)
	}

	r.chat("second", "modest")
	modest := r.model.asked()[10]
	res := last(modest).Results
	if len(res[0].Text) != 10<<10 || len(res[1].Text) >= 7<<10 || !strings.Contains(res[1].Text, "too much is being read") || !strings.Contains(res[2].Text, "its input has 20482 bytes") || !res[2].Failed {
		t.Errorf("of three results the model reads %d and %d bytes, and %q", len(res[0].Text), len(res[1].Text), res[2].Text)
	}
	if in := modest.Messages[len(modest.Messages)-2].Calls[2].Input; string(in) != `{}` {
		t.Errorf("an input of %d bytes is kept", len(in))
	}

	m := message("third", "look")
	m.Attachments = []bus.Attachment{r.keep(bus.KindDocument, "long.txt", "text/plain", bytes.Repeat([]byte("y"), 100<<10))}
	if _, err := r.trySend(m); err != nil {
		t.Fatal(err)
	}
	r.chat("fourth", "no file")
	if n := len(r.model.asked()); n != 12 {
		t.Errorf("%d questions: the one with a file does not wait", n)
	}
	close(release)
	r.wait(4)
	if q := last(r.model.asked()[12]); len(q.Text) < 100<<10 {
		t.Errorf("of the file the model reads %q", q.Text)
	}
	r.until("nothing is held", func() bool { return held() == 0 })
}

// Turns that go on after a restart wait for nobody with what they had, whoever comes first.
func TestTakenUpWaitsForNobody(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, func(ctx context.Context, q llm.Request, _ func(string)) (llm.Response, error) {
		switch said, rounds := q.Messages[0].Text, rounds(q); {
		case said == "greedy" && rounds < 7:
			return bulky(16, `{}`), nil
		case said == "modest" && rounds == 0:
			return bulky(3, `{}`), nil // more than it needs no slot for
		}
		select {
		case <-release:
			return say("done"), nil
		case <-ctx.Done():
			return llm.Response{}, ctx.Err()
		}
	})
	held := r.bulky()
	r.send("first", "greedy")
	r.until("a turn holds all there is", func() bool { return held() == 1<<20 && len(r.model.asked()) == 8 })
	r.send("second", "modest")
	r.until("another goes without", func() bool { return len(r.model.asked()) == 10 })
	r.stopRoom()
	r.startRoom()
	r.until("both go on", func() bool { return held() == 1<<20 && len(r.model.asked()) == 12 })
	close(release)
	r.wait(2)
	r.until("nothing is held", func() bool { return held() == 0 })
}

// bulky starts the room with a tool of that name, whose results are of 10 KiB, and with
// 1 MiB of material for all turns, of which it tells what is held.
func (r *rig) bulky() (held func() int) {
	r.cfg.MaterialMB, r.finish = 1, 1
	r.setup = func(s *agent.Service) {
		s.Use(odd{"bulky", func(context.Context, tool.Call) (tool.Result, error) {
			return tool.Result{Text: strings.Repeat("x", 10<<10)}, nil
		}})
	}
	r.start()
	return func() int { _, n := r.agent.Held(); return n }
}

// rounds is how many rounds of tools a question has.
func rounds(q llm.Request) (n int) {
	for _, m := range q.Messages {
		n += min(len(m.Results), 1)
	}
	return n
}

// bulky asks for so many bulky results, with the first input, and for one more with each further one.
func bulky(n int, input string, more ...string) (res llm.Response) {
	for i, in := range append(slices.Repeat([]string{input}, n), more...) {
		res.Calls = append(res.Calls, llm.ToolCall{ID: fmt.Sprint("c", i), Name: "bulky", Input: json.RawMessage(in)})
	}
	res.Usage = bus.Usage{Input: 10, Output: 5}
	return res
}

// A message's files are read as far as turns may hold them at all; the others are known
// by name.
func TestFilesBeyondTheBound(t *testing.T) {
	r := newRig(t, echo)
	r.cfg.MaterialMB = 1
	r.start()
	m := message("main", "")
	for n := range 9 { // of 128 KiB, each read that far
		m.Attachments = append(m.Attachments, r.keep(bus.KindDocument, fmt.Sprintf("%d.txt", n), "text/plain", bytes.Repeat([]byte{byte('0' + n)}, 200<<10)))
	}
	if _, err := r.trySend(m); err != nil {
		t.Fatal(err)
	}
	r.wait(1)
	q := last(r.model.asked()[0])
	if !strings.Contains(q.Text, "[document: 7.txt (its first 131072 of 204800 bytes)") || !strings.Contains(q.Text, "[document: 8.txt (text/plain, 204800 bytes; I cannot look inside)]") {
		t.Errorf("the model reads %d bytes, the last %.200q", len(q.Text), q.Text[len(q.Text)-200:])
	}
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
