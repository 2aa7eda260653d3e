// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
)

// maxKeyBytes bounds an idempotency key: with the subject before it, it fits
// into Message.ExternalID.
const maxKeyBytes = 128

// acceptedBody answers a message that is stored and not yet answered.
type acceptedBody struct {
	ID      string `json:"id"`
	Session string `json:"session"`
}

// answeredBody answers one whose reply is there. State tells an answer from
// words on why there is none.
type answeredBody struct {
	ID      string `json:"id"`
	Session string `json:"session"`
	State   string `json:"state"`
	Reply   string `json:"reply"`
}

// messageBody is a message and what became of it.
type messageBody struct {
	Seq        int64      `json:"seq"`
	ID         string     `json:"id"`
	Session    string     `json:"session"`
	State      string     `json:"state"`
	Text       string     `json:"text"`
	Reply      string     `json:"reply"`
	Error      bus.Code   `json:"error,omitempty"`
	ReceivedAt time.Time  `json:"received_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

func messageBodyOf(m bus.MessageRecord) messageBody {
	return messageBody{Seq: m.Seq, ID: m.ID, Session: m.Session, State: m.State, Text: m.Text, Reply: m.Reply,
		Error: m.Error, ReceivedAt: m.ReceivedAt, FinishedAt: m.FinishedAt}
}

// postMessage hands a message to the agent. Once that has stored it, nothing
// that happens here makes the answer an error.
func (f *front) postMessage(w http.ResponseWriter, r *request) error {
	query, err := r.query("wait")
	if err != nil {
		return err
	}
	wait, err := parseWait(query.Get("wait"), f.live.Load().MaxWait)
	if err != nil {
		return err
	}
	acc, err := f.handMessage(w, r, wait)
	if err != nil {
		return err
	}
	f.evidence.succeeded(f.now())
	if wait > 0 {
		if reply, ok := f.await(r, acc.ID, wait); ok {
			return writeJSON(w, http.StatusOK, answeredBody{ID: acc.ID, Session: acc.Session, State: reply.State, Reply: reply.Text})
		}
	}
	w.Header().Set("Location", "/v1/messages/"+acc.ID)
	return writeJSON(w, http.StatusAccepted, acceptedBody{ID: acc.ID, Session: acc.Session})
}

// handMessage reads the message and hands it over. Nothing of it is kept.
func (f *front) handMessage(w http.ResponseWriter, r *request, wait time.Duration) (acc bus.Accepted, err error) {
	m := bus.Message{Channel: name, Owner: r.subject}
	if m.ExternalID, err = externalID(r.subject, r.Header.Values("Idempotency-Key")); err != nil {
		return acc, err
	}
	data, leave, err := f.takeBody(w, r)
	if err != nil {
		return acc, err
	}
	defer leave()
	if err := decodeMessage(data, &m); err != nil {
		return acc, err
	}
	f.patient(w, wait)
	return bus.MessageReceive.Ask(r.Context(), f.conn, m)
}

func decodeMessage(data []byte, m *bus.Message) error {
	if err := decodeObject(data, field{"session", &m.Session}, field{"text", &m.Text}); err != nil {
		return err
	}
	if strings.TrimSpace(m.Text) == "" {
		return invalid(`send {"session":"main","text":"hello"}`, "the text is empty")
	}
	return nil
}

// externalID makes the key unique among all subjects: the agent knows one
// channel, and one subject must not learn of another's message by its key.
func externalID(subject string, keys []string) (string, error) {
	if len(keys) == 0 {
		return "", nil
	}
	key := keys[0]
	printable := !strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' })
	if len(keys) > 1 || key == "" || len(key) > maxKeyBytes || !printable {
		return "", invalid("use one key of 1 to 128 visible ASCII characters, such as a UUID", "the Idempotency-Key cannot be used")
	}
	return subject + "/" + key, nil
}

// patient lets the answer take as long as the request may wait. The deadline
// for reading ends by itself with the request's last byte.
func (f *front) patient(w http.ResponseWriter, wait time.Duration) {
	const slack = 10 * time.Second // for the calls to the agent
	// Where the connection knows no deadlines, the server's own holds.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wait + slack + f.cfg.WriteTimeout))
}

// await waits for the reply to message id: registered first, asked once, then
// woken. It reports false when the time, the gateway, or the room for those
// who wait came to an end first.
func (f *front) await(r *request, id string, wait time.Duration) (bus.Reply, bool) {
	w, ok := f.waiters.register(id)
	if !ok {
		return bus.Reply{}, false
	}
	defer f.waiters.leave(w)
	rec, err := f.record(r, id)
	switch {
	case err == nil && final(rec.State):
		return replyOf(rec), true
	case err != nil && r.Context().Err() == nil:
		f.evidence.failed(err.Error(), f.now()) // the wake may come all the same
	}
	return f.sleep(r, w, wait)
}

// sleep waits to be woken.
func (f *front) sleep(r *request, w *waiter, wait time.Duration) (bus.Reply, bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case reply := <-w.reply:
		return reply, true
	case <-timer.C:
	case <-r.pass.barred: // what was begun may go on for the little while that its token expires early
	case <-f.draining:
	case <-r.Context().Done():
	}
	return bus.Reply{}, false
}

// getMessage tells what became of a message, and waits for that if asked to.
func (f *front) getMessage(w http.ResponseWriter, r *request) error {
	query, err := r.query("wait")
	if err != nil {
		return err
	}
	wait, err := parseWait(query.Get("wait"), f.live.Load().MaxWait)
	if err != nil {
		return err
	}
	f.patient(w, wait)
	rec, err := f.observe(r, r.PathValue("id"), wait)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, messageBodyOf(rec))
}

// cancelMessage stops the work on a message. The message stays: its record tells
// what became of it, which can be that it had been answered.
func (f *front) cancelMessage(w http.ResponseWriter, r *request) error {
	if _, err := r.query(); err != nil {
		return err
	}
	id := r.PathValue("id")
	if _, err := f.record(r, id); err != nil { // it may be another channel's
		return err
	}
	rec, err := bus.MessageCancel.Ask(r.Context(), f.conn, bus.MessageQuery{ID: id, Owner: r.subject})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, messageBodyOf(rec))
}

// observe returns the record of a message, with wait when it is final or the
// time is over.
func (f *front) observe(r *request, id string, wait time.Duration) (bus.MessageRecord, error) {
	var w *waiter
	if wait > 0 {
		if got, ok := f.waiters.register(id); ok {
			w = got
			defer f.waiters.leave(w)
		}
	}
	rec, err := f.record(r, id)
	if err != nil || w == nil || final(rec.State) {
		return rec, err
	}
	if _, ok := f.sleep(r, w, wait); !ok && closed(r.pass.barred) {
		return rec, f.farewell(r.pass)
	}
	return f.record(r, id)
}

// record asks the agent for a message of this channel and this subject. An
// owner of the same name on another channel is someone else.
func (f *front) record(r *request, id string) (bus.MessageRecord, error) {
	rec, err := bus.MessageGet.Ask(r.Context(), f.conn, bus.MessageQuery{ID: id, Owner: r.subject})
	if err == nil && rec.Channel != name {
		err = bus.Errorf(bus.CodeNotFound, "there is no message %s", shorten(id)).WithHint("the answer to POST /v1/messages has the id")
	}
	return rec, err
}

func final(state string) bool {
	return state == bus.StateAnswered || state == bus.StateFailed || state == bus.StateDead
}

func replyOf(m bus.MessageRecord) bus.Reply {
	return bus.Reply{MessageID: m.ID, Session: m.Session, State: m.State, Text: m.Reply}
}
