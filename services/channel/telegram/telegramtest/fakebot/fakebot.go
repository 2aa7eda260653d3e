// SPDX-License-Identifier: MIT OR Apache-2.0

// Package fakebot is a Telegram Bot API server for tests, on the real wire
// (https://core.telegram.org/bots/api). It has one bot and whatever chats are
// spoken of.
//
//	fake, err := fakebot.New()          // or fakebot.Start(t)
//	defer fake.Close()
//	cfg.APIURL, cfg.BotToken = fake.URL(), config.NewSecret(fake.Token())
//	fake.Say(7, "hello")                // person 7, in private
//	fake.Wait(ctx, func() bool { return len(fake.Chat(7)) == 1 })
//	fake.Chat(7)[0].Text
//
// getUpdates has the real semantics: an offset confirms what is below it, what is
// not confirmed comes again, a question is held for its timeout, and two at once
// end the first with a 409. Messages have their real bounds: 4096 UTF-16 units
// after the tags are read, tags that are balanced and known, an edit that changes
// nothing is an error. [Bot.Fail] makes the next requests of a method fail, or
// cuts the connection before or after the request has taken effect.
package fakebot

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Bot is the server.
type Bot struct {
	server   *http.Server
	listener net.Listener
	served   chan struct{}

	mu       sync.Mutex
	changed  chan struct{} // closed and made anew with every change
	id       int64
	token    string
	webhook  bool
	updates  []pending
	nextID   int64 // of updates
	nextMsg  int64 // of messages
	poller   int   // number of the latest getUpdates
	chats    map[int64][]Message
	files    map[string][]byte
	moved    map[int64]int64
	faults   map[string][]Fault
	requests []Request
}

type pending struct {
	id   int64
	data map[string]any
}

// Message is what the bot sent, as it stands now.
type Message struct {
	ID     int64
	Thread int64
	Text   string // as sent, with tags
	Plain  string // as people see it
	HTML   bool
	Edits  int
}

// Request is one request of the bot.
type Request struct {
	Method string
	At     time.Time
	Params map[string]any
	Code   int // answered with; 0 when the connection was cut
}

// Int returns a parameter as a number.
func (r Request) Int(name string) int64 {
	switch v := r.Params[name].(type) {
	case float64:
		return int64(v)
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}

// Text returns a parameter as text.
func (r Request) Text(name string) string {
	s, _ := r.Params[name].(string)
	return s
}

// Fault is how a request fails.
type Fault struct {
	Code        int // as an HTTP status
	Description string
	RetryAfter  int  // seconds, in parameters
	Cut         bool // close the connection without an answer
	Hang        bool // no answer, until the client gives up
	After       bool // the request takes effect first
	HTML        bool // answer with a page instead of JSON, as a broken proxy does
}

// Username is the bot's.
const Username = "fake_bot"

// ID is the bot's, until it becomes another.
const ID = 4242

// New starts the server on a free port of this machine.
func New() (*Bot, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start fake bot: %w", err)
	}
	b := &Bot{listener: ln, served: make(chan struct{}), changed: make(chan struct{}), id: ID, token: "4242:fake-token_for-tests", nextID: 1000, nextMsg: 100,
		chats: map[int64][]Message{}, files: map[string][]byte{}, moved: map[int64]int64{}, faults: map[string][]Fault{}}
	b.server = &http.Server{Handler: http.HandlerFunc(b.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(b.served)
		_ = b.server.Serve(ln) // ends with Close
	}()
	return b, nil
}

// Start is New for a test, which ends it.
func Start(t testing.TB) *Bot {
	t.Helper()
	b, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Close ends the server and every connection.
func (b *Bot) Close() {
	_ = b.server.Close()
	<-b.served
}

// URL is what telegram.api_url is set to.
func (b *Bot) URL() string { return "http://" + b.listener.Addr().String() }

// Token is the bot's.
func (b *Bot) Token() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.token
}

// SetToken revokes the token and gives another.
func (b *Bot) SetToken(token string) { b.change(func() { b.token = token }) }

// Become makes it another bot: with chats of its own, in which messages are counted
// from the beginning.
func (b *Bot) Become(id int64, token string) {
	b.change(func() {
		b.id, b.token, b.updates, b.nextID, b.nextMsg, b.chats = id, token, nil, 10, 100, map[int64][]Message{}
		b.poller++ // who asks for the other's updates is cut off
	})
}

// SetWebhook makes polling a conflict, or no longer.
func (b *Bot) SetWebhook(on bool) { b.change(func() { b.webhook = on }) }

// Move makes a group a supergroup with another id.
func (b *Bot) Move(old, now int64) { b.change(func() { b.moved[old] = now }) }

// Fail makes the next requests of a method fail, one for each fault.
func (b *Bot) Fail(method string, faults ...Fault) {
	b.change(func() { b.faults[method] = append(b.faults[method], faults...) })
}

// Heal takes back the faults that are left.
func (b *Bot) Heal() { b.change(func() { clear(b.faults) }) }

// Forget deletes a message of the bot behind its back.
func (b *Bot) Forget(chat, id int64) { b.change(func() { b.remove(chat, id) }) }

func (b *Bot) remove(chat, id int64) bool {
	for i, m := range b.chats[chat] {
		if m.ID == id {
			b.chats[chat] = append(b.chats[chat][:i:i], b.chats[chat][i+1:]...)
			return true
		}
	}
	return false
}

func (b *Bot) change(fn func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn()
	close(b.changed)
	b.changed = make(chan struct{})
}

// Wait waits until done, which is asked after every change, is true; false means
// that ctx ended first.
func (b *Bot) Wait(ctx context.Context, done func() bool) bool {
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if done() {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// Say is a person's message in private. It returns the message's id.
func (b *Bot) Say(person int64, text string) int64 {
	return b.Send(map[string]any{"text": text, "chat": map[string]any{"id": person, "type": "private", "first_name": "Ann"},
		"from": map[string]any{"id": person, "is_bot": false, "first_name": "Ann"}})
}

// Send queues a message with these fields; message_id and date are added, and
// entities for commands and mentions where none are given.
func (b *Bot) Send(message map[string]any) int64 { return b.queue("message", message) }

// Edit queues an edited message, whose message_id has to be among the fields.
func (b *Bot) Edit(message map[string]any) int64 { return b.queue("edited_message", message) }

// Push queues an update as it is, with the next update_id. One that it has counts
// from then on; nil is none at all.
func (b *Bot) Push(update map[string]any) {
	b.change(func() { b.push(update) })
}

func (b *Bot) push(update map[string]any) {
	id, given := update["update_id"]
	switch n, ok := id.(int64); {
	case ok:
		b.nextID = n
	case given:
		b.updates = append(b.updates, pending{0, update})
		return
	default:
		b.nextID++
	}
	update["update_id"] = b.nextID
	b.updates = append(b.updates, pending{b.nextID, update})
}

func (b *Bot) queue(kind string, m map[string]any) (id int64) {
	b.change(func() {
		if given, ok := m["message_id"].(int64); ok {
			id = given
		} else {
			b.nextMsg++
			id = b.nextMsg
			m["message_id"] = id
		}
		if m["date"] == nil {
			m["date"] = time.Now().Unix()
		}
		if text, ok := m["text"].(string); ok && m["entities"] == nil {
			m["entities"] = entities(text)
		}
		b.push(map[string]any{kind: m})
	})
	return id
}

// entities finds what Telegram would mark: a command at the beginning, mentions.
func entities(text string) []map[string]any {
	out := []map[string]any{}
	at := 0
	for i, word := range strings.Split(text, " ") {
		kind := ""
		if i == 0 && len(word) > 1 && word[0] == '/' {
			kind = "bot_command"
		} else if len(word) > 1 && word[0] == '@' {
			kind = "mention"
		}
		if kind != "" {
			out = append(out, map[string]any{"type": kind, "offset": at, "length": units(word)})
		}
		at += units(word) + 1
	}
	return out
}

// File makes a file that can be fetched and returns its file_id.
func (b *Bot) File(name string, data []byte) (id string) {
	b.change(func() {
		id = fmt.Sprintf("file-%d-%s", len(b.files), name)
		b.files[id] = data
	})
	return id
}

// Chat returns what the bot sent to a chat and has not deleted, oldest first.
func (b *Bot) Chat(id int64) []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Message(nil), b.chats[id]...)
}

// Requests returns the requests of a method so far, or all for "".
func (b *Bot) Requests(method string) (out []Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if method == "" || r.Method == method {
			out = append(out, r)
		}
	}
	return out
}

// Unconfirmed returns how many updates the bot has not confirmed.
func (b *Bot) Unconfirmed() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.updates)
}

// answer is one answer of the server.
type answer struct {
	code       int
	result     any
	error      string
	parameters map[string]any
}

func refused(code int, text string) answer { return answer{code: code, error: text} }

// write sends the envelope of every answer.
func (a answer) write(w http.ResponseWriter) {
	env := map[string]any{"ok": a.error == ""}
	if a.error == "" {
		a.code, env["result"] = http.StatusOK, a.result
	} else {
		env["error_code"], env["description"] = a.code, a.error
		if a.parameters != nil {
			env["parameters"] = a.parameters
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.code)
	_ = json.NewEncoder(w).Encode(env) // the bot may have gone
}
