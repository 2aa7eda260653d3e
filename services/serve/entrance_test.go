// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/coder/websocket"
)

// entrance is a channel on which one person has a session and another one has none.
type entrance struct {
	goesOn  func(t *testing.T, when string) // the one has an answer
	refuses func(t *testing.T)              // the other is told that memory is short
}

const known, stranger = 1001, 1002 // on Telegram

const memoryShort = "memory is short"

// telegramEntrance is Telegram's, where chats are the sessions.
func telegramEntrance(t *testing.T, tg *fakebot.Bot) entrance {
	t.Helper()
	says := func(t *testing.T, person int64, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		before := len(tg.Chat(person))
		tg.Say(person, "hello")
		if !tg.Wait(ctx, func() bool { m := tg.Chat(person); return len(m) > before && strings.Contains(m[len(m)-1].Plain, want) }) {
			t.Errorf("on Telegram %d is told %+v", person, tg.Chat(person))
		}
	}
	return entrance{
		goesOn: func(t *testing.T, when string) {
			t.Helper()
			says(t, known, "")
			if m := tg.Chat(known); strings.Contains(m[len(m)-1].Plain, memoryShort) {
				t.Errorf("%s Telegram's session is told %q", when, m[len(m)-1].Plain)
			}
		},
		refuses: func(t *testing.T) { t.Helper(); says(t, stranger, memoryShort) },
	}
}

// socketEntrance is a WebSocket of the gateway.
func socketEntrance(t *testing.T, info Info, token string) entrance {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), info.Gateway+"/v1/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	n := 0
	says := func(t *testing.T, session string) (last frame) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		n++
		id := fmt.Sprint("m", n)
		if err := ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"message","id":%q,"session":%q,"text":"hello"}`, id, session)); err != nil {
			t.Fatal(err)
		}
		for last.ID != id || last.Type != "reply" && last.Type != "error" {
			_, data, err := ws.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			last = frame{}
			if err := json.Unmarshal(data, &last); err != nil {
				t.Fatal(err)
			}
		}
		return last
	}
	return entrance{
		goesOn: func(t *testing.T, when string) {
			t.Helper()
			if f := says(t, "socket"); f.Type != "reply" {
				t.Errorf("%s the socket's session is told %+v", when, f)
			}
		},
		refuses: func(t *testing.T) {
			t.Helper()
			if f := says(t, "other-socket"); f.Type != "error" || f.Error.Code != string(bus.CodeBusy) || !strings.Contains(f.Error.Message, memoryShort) {
				t.Errorf("a new session on the socket is told %+v", f)
			}
		},
	}
}

// frame is what the socket sends, as far as it is looked at.
type frame struct {
	Type, ID string
	Error    struct{ Code, Message string }
}

// keyEntrance is a program of its own that has a channel's key.
func keyEntrance(t *testing.T, op *bus.Conn) entrance {
	t.Helper()
	c, replies := guest(t, op, bus.KeyRequest{Name: "sms", Role: bus.RoleChannel}, bus.MessageReceive), make(chan bus.Reply, 1)
	if err := c.Handle(t.Context(), bus.MessageSend.To("sms").Answer(func(_ context.Context, r bus.Reply) (bus.Receipt, error) {
		replies <- r
		return bus.Receipt{}, nil
	})); err != nil {
		t.Fatal(err)
	}
	return entrance{
		goesOn: func(t *testing.T, when string) {
			t.Helper()
			acc, err := bus.MessageReceive.Ask(t.Context(), c, bus.Message{Channel: "sms", Owner: "+4711", Text: "hello"})
			if err != nil {
				t.Errorf("%s the key's session is told %v", when, err)
				return
			}
			select {
			case r := <-replies:
				if r.MessageID != acc.ID {
					t.Errorf("%s the key has the reply %+v", when, r)
				}
			case <-time.After(10 * time.Second):
				t.Errorf("%s the key has no reply within 10 s", when)
			}
		},
		refuses: func(t *testing.T) {
			t.Helper()
			_, err := bus.MessageReceive.Ask(t.Context(), c, bus.Message{Channel: "sms", Owner: "+4712", Text: "hello"})
			if !bus.Retryable(err) || bus.CodeOf(err) != bus.CodeBusy || !strings.Contains(fmt.Sprint(err), memoryShort) {
				t.Errorf("a new session by a key is told %v", err)
			}
		},
	}
}
