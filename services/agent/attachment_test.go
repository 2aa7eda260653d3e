// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/blob"
)

// keep puts a file where a channel would.
func (r *rig) keep(kind, name, media string, data []byte) bus.Attachment {
	r.t.Helper()
	in, err := r.blobs.Put(r.t.Context(), bytes.NewReader(data), blob.Info{Name: name, MediaType: media})
	if err != nil {
		r.t.Fatal(err)
	}
	return bus.Attachment{ID: in.ID, Kind: kind, MediaType: media, Name: name, Bytes: in.Bytes}
}

// The model sees the pictures and reads the texts of the message it answers, and
// knows those of earlier ones by name. A message of files alone is one.
func TestFilesReachTheModel(t *testing.T) {
	r := newRig(t, func(context.Context, llm.Request, func(string)) (llm.Response, error) { return say("I see"), nil }).start()
	m := message("main", "")
	m.Attachments = []bus.Attachment{
		r.keep(bus.KindImage, "cat.jpg", "image/jpeg", []byte("meow")),
		r.keep(bus.KindDocument, "todo.md", "application/octet-stream", []byte("- feed the cat")),
		r.keep(bus.KindAudio, "voice-1", "audio/ogg", []byte("ogg")),
		r.keep(bus.KindDocument, "lies.txt", "text/plain", []byte{0xff, 0}),
	}
	acc, err := r.trySend(m)
	if err != nil {
		t.Fatal(err)
	}
	r.wait(1)
	q := last(r.model.asked()[0])
	if len(q.Images) != 1 || string(q.Images[0].Data) != "meow" || q.Images[0].MediaType != "image/jpeg" {
		t.Errorf("images %+v", q.Images)
	}
	for _, want := range []string{"[image: cat.jpg]", "- feed the cat", "[audio: voice-1 (audio/ogg", "lies.txt (2 bytes; it is not text"} {
		if !strings.Contains(q.Text, want) {
			t.Errorf("%q is not in %q", want, q.Text)
		}
	}
	if got := r.get(acc.ID); len(got.Attachments) != 4 || got.Attachments[0] != m.Attachments[0] {
		t.Errorf("record %+v", got)
	}
	r.restart()
	r.chat("main", "and now?")
	asked := r.model.asked()
	before := asked[len(asked)-1].Messages[0]
	if before.Text != "[image: cat.jpg]\n[document: todo.md]\n[audio: voice-1]\n[document: lies.txt]" || len(before.Images) != 0 {
		t.Errorf("history %+v", before)
	}
}

// Files are held until the turn has ended, and not longer.
func TestFilesAreHeldForTheTurn(t *testing.T) {
	going, begun := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(context.Context, llm.Request, func(string)) (llm.Response, error) {
		close(begun)
		<-going
		return say("done"), nil
	}).start()
	m := message("main", "look")
	m.Attachments = []bus.Attachment{r.keep(bus.KindImage, "a.png", "image/png", []byte("png"))}
	if _, err := r.trySend(m); err != nil {
		t.Fatal(err)
	}
	<-begun
	r.clock.add(2 * time.Hour)
	sweep := func() (left int64) {
		if err := r.blobs.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r.number(`SELECT count(*) FROM blob`)
	}
	if sweep() != 1 {
		t.Error("a file was swept before its turn had ended")
	}
	close(going)
	r.wait(1)
	if sweep() != 0 {
		t.Error("a file was kept that nobody needs")
	}
}

// What cannot be stored is refused, and nothing is held.
func TestBadAttachments(t *testing.T) {
	r := newRig(t, echo).start()
	for name, as := range map[string][]bus.Attachment{
		"not there": {{ID: "nothing", Kind: bus.KindImage, Name: "x"}},
		"no id":     {{Kind: bus.KindImage}},
		"lines":     {{ID: "a\nb"}},
		"too many":  make([]bus.Attachment, 11),
	} {
		m := message("main", "x")
		m.Attachments = as
		if _, err := r.trySend(m); bus.CodeOf(err) != bus.CodeInvalid && bus.CodeOf(err) != bus.CodeTooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := r.number(`SELECT count(*) FROM message`); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
}

// A channel that refuses a reply for good makes it a dead letter at once.
func TestRefusedReplyIsDead(t *testing.T) {
	r := newRig(t, echo).start()
	r.gateway.refuse(func(bus.Reply) error { return bus.Errorf(bus.CodeDenied, "blocked by the user") })
	r.send("main", "hello")
	r.until("the reply is dead", func() bool { return len(facts(r, bus.ReplyDied)) == 1 })
	if f := facts(r, bus.ReplyDied)[0]; f.Attempts != 1 || !strings.Contains(f.Error, "blocked") {
		t.Errorf("fact %+v", f)
	}
}
