// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/blufio/blufio/bus"
)

// sessionHeader names a lasting session; so does the member "user".
const sessionHeader = "X-Blufio-Session"

// unnamedSession begins the name of a session of its own.
const unnamedSession = "completion-"

// completion is a chat completion on its way. It may wait long: what the client
// sent is not kept.
type completion struct {
	*front
	r         *request
	w         http.ResponseWriter
	began     time.Time
	streamed  bool
	withUsage bool // at the end of the stream
	asked     int  // bytes handed over
	waiter    *waiter
	draft     *draft
	id        string // of the message, once it is stored
}

// postCompletion hands the client's question to the agent and answers with its
// reply, whole or while it is being made.
func (f *front) postCompletion(w http.ResponseWriter, r *request) error {
	c := &completion{front: f, r: r, w: w, began: f.now(), draft: newDraft()}
	err := c.hand()
	if c.waiter != nil {
		defer f.waiters.leave(c.waiter)
	}
	if err != nil {
		return err
	}
	known := c.known()
	if c.streamed {
		return c.stream(known)
	}
	return c.whole(known)
}

// hand reads the request and gives its message to the agent. From then on there is
// a waiter, which whoever called hand sends away.
func (c *completion) hand() error {
	data, leave, err := c.takeBody(c.w, c.r)
	if err != nil {
		return err
	}
	defer leave()
	p, err := decodePrompt(data)
	if err != nil {
		return err
	}
	m, err := messageOf(c.r, p)
	if err != nil {
		return err
	}
	c.streamed, c.withUsage, c.asked = p.Stream, p.StreamOptions.IncludeUsage, len(m.Text)
	var hear func(bus.Delta)
	if c.streamed {
		hear = c.draft.hear
	}
	var ok bool
	if c.waiter, ok = c.waiters.reserve(c.r.subject, hear); !ok {
		return bus.Errorf(bus.CodeBusy, "%d requests wait for replies", c.cfg.MaxWaiters).WithHint("try again")
	}
	c.patient(c.w, c.cfg.MaxAnswer)
	acc, err := bus.MessageReceive.Ask(c.r.Context(), c.conn, m)
	if err != nil {
		return handingFailed(err, c.r.trace)
	}
	c.evidence.succeeded(c.now())
	c.id = acc.ID
	c.waiters.name(c.waiter, acc.ID)
	return nil
}

// messageOf makes the message. In a lasting session the agent knows what came
// before; a conversation of its own has a session that nobody else uses, the
// same one again when the request is repeated with its key.
func messageOf(r *request, p *prompt) (bus.Message, error) {
	m := bus.Message{Channel: name, Owner: r.subject, Session: r.Header.Get(sessionHeader)}
	if m.Session == "" {
		m.Session = p.User
	}
	var err error
	if m.ExternalID, err = externalID(r.subject, r.Header.Values("Idempotency-Key")); err != nil {
		return m, err
	}
	if m.Session != "" {
		m.Text = p.question()
		return m, nil
	}
	unique := rand.Text()
	if m.ExternalID != "" {
		sum := sha256.Sum256([]byte(m.ExternalID))
		unique = hex.EncodeToString(sum[:16])
	}
	m.Session, m.Text = unnamedSession+unique, p.transcript()
	return m, nil
}

// known returns the message's record if it is answered already: it was a
// duplicate, or the reply overtook us.
func (c *completion) known() *bus.MessageRecord {
	rec, err := c.record(c.r, c.id)
	if err == nil && final(rec.State) {
		return &rec
	}
	if err != nil && c.r.Context().Err() == nil {
		c.evidence.failed(err.Error(), c.now()) // the wake may come all the same
	}
	return nil
}

// handingFailed keeps clients from sending again what may be stored: the answer may
// be late, or the connection have ended before it.
func handingFailed(err error, trace string) error {
	code := bus.CodeOf(err)
	if code != bus.CodeTimeout && (code != bus.CodeUnavailable || bus.Nobody(err)) {
		return err
	}
	e := refusalOf(err, trace)
	e.final = true
	return e
}

// whole answers at once with the reply.
func (c *completion) whole(known *bus.MessageRecord) error {
	text, err := c.reply(known, nil)
	if err != nil {
		return err
	}
	body := completionBody{ID: "chatcmpl-" + c.id, Object: "chat.completion", Created: c.began.Unix(), Model: modelID,
		Choices: []choiceBody{{Message: &contentBody{Role: roleAssistant, Content: &text}, FinishReason: new("stop")}}, Usage: c.usage(text)}
	return writeJSON(c.w, http.StatusOK, body)
}

// reply returns the text of the answer: of the known record, or of the reply that
// it waits for. An outcome that is no answer is an error.
func (c *completion) reply(known *bus.MessageRecord, out *sse) (string, error) {
	if known != nil {
		return c.outcome(*known)
	}
	reply, err := c.follow(out)
	if err != nil {
		return "", err
	}
	if reply.State == bus.StateAnswered {
		return reply.Text, nil
	}
	rec, err := c.record(c.r, c.id) // knows why
	if err != nil {
		rec = bus.MessageRecord{State: reply.State, Reply: reply.Text}
	}
	return c.outcome(rec)
}

func (c *completion) outcome(rec bus.MessageRecord) (string, error) {
	if rec.State == bus.StateAnswered {
		return rec.Reply, nil
	}
	code := rec.Error
	if code == "" {
		code = bus.CodeInternal
	}
	status := statusOf(code)
	if code == bus.CodeDenied { // by the model's vendor: the client's own token is good
		status = http.StatusBadGateway
	}
	return "", &refusal{status: status, code: code, final: true, message: rec.Reply, hint: "it is message " + c.id}
}

func (c *completion) late() *refusal {
	return &refusal{status: http.StatusGatewayTimeout, code: bus.CodeTimeout, final: true, expected: true,
		message: "there is no reply yet to message " + c.id, hint: "it will be at /v1/messages/" + c.id + "; gateway.max_answer is the limit"}
}

func (c *completion) stopping() *refusal {
	return &refusal{status: http.StatusServiceUnavailable, code: bus.CodeUnavailable, final: true, expected: true,
		message: "the gateway stops before message " + c.id + " is answered", hint: "the reply will be at /v1/messages/" + c.id}
}

// barred ends the wait of a token that is no longer valid, though its time has not come.
func (c *completion) barred() *refusal {
	e := c.farewell(c.r.pass)
	e.final = true
	return e
}

// unlike ends a stream whose words the reply does not go on from.
func (c *completion) unlike() *refusal {
	return &refusal{status: http.StatusInternalServerError, code: "stream_interrupted", final: true,
		message: "the agent began its answer anew, and what was sent of it is void", hint: "the reply is at /v1/messages/" + c.id}
}
