// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/blufio/blufio/services/config"
	"github.com/nats-io/nats.go"
)

// resumed is a daemon that is backed up, stopped, restored and started again, and the
// people and the model around it.
type resumed struct {
	*member
	t    *testing.T
	bot  *fakebot.Bot
	call *bus.Conn // of the lanes that a member has not got

	mu    sync.Mutex
	asked map[string]int // how often the model was, by the question
	held  []string       // bodies of questions that wait at the gate
	gate  chan struct{}  // until it is closed, "slow" questions do not reach the model
}

const person = 1001

func newResumed(t *testing.T) *resumed {
	r := &resumed{t: t, bot: fakebot.Start(t), asked: map[string]int{}, gate: make(chan struct{})}
	fake := fakellm.NewOpenAI(t)
	fake.Reply(func(q fakellm.Question) fakellm.Answer {
		r.mu.Lock()
		r.asked[q.Text]++
		r.mu.Unlock()
		return fakellm.Says("the answer to " + q.Text)
	})
	door := r.doorkeeper(fake.URL())
	cfg := Defaults()
	cfg.Gateway.Listen, cfg.Bus.Listen, cfg.Memory.LimitMB, cfg.Backup.Every = "127.0.0.1:0", "127.0.0.1:0", 2000, 0
	cfg.Agent.Provider, cfg.OpenAI.BaseURL, cfg.Agent.Model = []string{"openai"}, door, "gpt-4o-mini"
	cfg.Telegram.APIURL, cfg.Telegram.BotToken, cfg.Telegram.Allow = r.bot.URL(), config.NewSecret(r.bot.Token()), []int64{person}
	cfg.Telegram.PollTimeout = time.Second
	r.member = &member{dir: filepath.Join(t.TempDir(), "data"), cfg: cfg}
	r.begin()
	return r
}

// doorkeeper stands before the model and returns its address.
func (r *resumed) doorkeeper(model string) string {
	to, err := url.Parse(model)
	check(r.t, err)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: to.Scheme, Host: to.Host})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		if bytes.Contains(body, []byte("slow")) {
			r.mu.Lock()
			r.held = append(r.held, string(body))
			r.mu.Unlock()
			select {
			case <-r.gate:
			case <-q.Context().Done():
				return
			}
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, q)
	}))
	r.t.Cleanup(server.Close)
	return server.URL + to.Path
}

// waits reports whether a question waits at the gate, or has.
func (r *resumed) waits(question string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.held, func(body string) bool { return strings.Contains(body, question) })
}

func (r *resumed) begin() {
	r.t.Helper()
	r.start(r.t)
	device, err := embedded.LoadDevice(r.dir)
	check(r.t, err)
	nc, err := nats.Connect(r.nc.ConnectedUrl(), device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox), nats.NoReconnect())
	check(r.t, err)
	r.t.Cleanup(nc.Close)
	r.call = bus.NewConn(nc, bus.Options{Name: "cli", Logger: bustest.Logger(r.t),
		Says: []bus.Lane{bus.BackupCreate, bus.BackupTake, bus.BackupFinish, bus.QueueList, bus.TokenIssue, bus.MessageGet}})
}

func (r *resumed) times(question string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[question]
}

func (r *resumed) until(what string, done func() bool) {
	r.t.Helper()
	bustest.Eventually(r.t, what, done, func() any { return r.bot.Chat(person) })
}

// told is how often the person reads it.
func (r *resumed) told(text string) (n int) {
	for _, m := range r.bot.Chat(person) {
		if strings.Contains(m.Plain, text) {
			n++
		}
	}
	return n
}

// post sends a message to the gateway under a key, and returns its id.
func (r *resumed) post(key, text string) string {
	r.t.Helper()
	token, err := bus.TokenIssue.Ask(r.t.Context(), r.call, bus.TokenRequest{Name: fmt.Sprintf("t%d", time.Now().UnixNano()), Subject: "ann", Scopes: []string{"chat"}, Seconds: 3600})
	check(r.t, err)
	info, err := ReadInfo(r.dir)
	check(r.t, err)
	body, err := json.Marshal(map[string]string{"session": "main", "text": text})
	check(r.t, err)
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, info.Gateway+"/v1/messages", bytes.NewReader(body))
	check(r.t, err)
	req.Header.Set("Authorization", "Bearer "+token.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := http.DefaultClient.Do(req)
	check(r.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	check(r.t, err)
	var answer struct{ ID string }
	if err := json.Unmarshal(data, &answer); err != nil || answer.ID == "" {
		r.t.Fatalf("the gateway says %d %s", resp.StatusCode, data)
	}
	return answer.ID
}

func (r *resumed) state(id string) string {
	m, err := bus.MessageGet.Ask(r.t.Context(), r.call, bus.MessageQuery{ID: id})
	check(r.t, err)
	return m.State
}

// backUp asks the running daemon for a backup, as the command line does.
func (r *resumed) backUp() string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	path := filepath.Join(r.t.TempDir(), "backup.tar.zst")
	f, err := CreateBackup(path, false)
	check(r.t, err)
	b, err := bus.BackupCreate.Ask(ctx, r.call, bus.BackupRequest{IncludeDeviceKey: true})
	check(r.t, err)
	for at := int64(0); ; {
		c, err := bus.BackupTake.Ask(ctx, r.call, bus.BackupRead{ID: b.ID, Offset: at})
		check(r.t, err)
		n, err := f.Write(c.Data)
		check(r.t, err)
		if at += int64(n); c.EOF {
			break
		}
	}
	check(r.t, f.Commit())
	_, err = bus.BackupFinish.Ask(ctx, r.call, bus.BackupEnd{ID: b.ID, Path: path})
	check(r.t, err)
	return path
}

func (r *resumed) epoch() bus.EventPage {
	r.t.Helper()
	var page bus.EventPage
	r.until("the event stream is open", func() bool {
		var err error
		page, err = bus.EventsRead.Ask(r.t.Context(), r.Conn, bus.EventQuery{Pattern: ">", Limit: 500})
		return err == nil && len(page.Events) > 0
	})
	return page
}

// Backed up with two messages under way, which the daemon answers then. After the
// restore nobody is answered again: not by Telegram, not by the gateway, not by a
// source that says the same once more.
func TestRestoreAnswersNothingTwice(t *testing.T) {
	r := newResumed(t)
	r.bot.Say(person, "slow one")
	two := r.post("key-2", "slow two")
	r.until("the model is asked for both", func() bool { return r.waits("slow one") && r.waits("slow two") })
	path := r.backUp()
	before := r.epoch()
	close(r.gate)
	r.until("the person is answered", func() bool { return r.told("the answer to slow one") == 1 })
	r.until("the gateway's is answered", func() bool { return r.state(two) == bus.StateAnswered })
	r.bot.Say(person, "since")
	r.until("the person is answered", func() bool { return r.told("the answer to since") == 1 && r.bot.Unconfirmed() == 0 })
	three := r.post("key-3", "since then")
	r.until("the gateway's is answered", func() bool { return r.state(three) == bus.StateAnswered })
	spent, err := bus.StatusGet.Ask(t.Context(), r.Conn, bus.StatusQuery{})
	check(t, err)
	r.stop()

	done, err := restoreFrom(t, restoreOptions(t, r.dir), path)
	check(t, err)
	if c := done.Carried; c.Answered != 2 || c.Remembered != 2 || c.Calls != 4 || c.Open != 0 || done.Unread != "" {
		t.Errorf("carried %+v, %s", c, done.Unread)
	}
	if got := messages(t, databasePath(done.Pre)); len(got) != 4 {
		t.Errorf("the old database has %v", got)
	}
	r.begin()
	r.bot.Say(person, "after")
	r.until("the person is answered", func() bool { return r.told("the answer to after") == 1 })
	for key, want := range map[string][2]string{"key-2": {"slow two", two}, "key-3": {"since then", three}} {
		if id := r.post(key, want[0]); id != want[1] {
			t.Errorf("%s: accepted as %s, and was %s", key, id, want[1])
		}
	}
	for _, question := range []string{"slow one", "slow two", "since", "since then", "after"} {
		if n := r.times(question); n != 1 {
			t.Errorf("the model was asked %d times for %q", n, question)
		}
	}
	for _, text := range []string{"slow one", "since", "after"} {
		if n := r.told("the answer to " + text); n != 1 {
			t.Errorf("the person reads %d answers to %q", n, text)
		}
	}
	now, err := bus.StatusGet.Ask(t.Context(), r.Conn, bus.StatusQuery{})
	check(t, err)
	if now.Cost.Today < spent.Cost.Today || spent.Cost.Today == 0 {
		t.Errorf("%v was spent before the restore, and %v after it", spent.Cost.Today, now.Cost.Today)
	}
	page := r.epoch()
	if page.Epoch == before.Epoch || page.Events[0].Position <= 0 {
		t.Errorf("the stream's epoch is %s, and was %s", page.Epoch, before.Epoch)
	}
	for _, e := range page.Events {
		if e.Event == bus.StreamGap.Spec().Name {
			t.Errorf("a gap is told: %s", e.Payload)
		}
	}
}

// On another machine, where nobody knows what happened since, it carries on; or, with
// hold, leaves that to the operator.
func TestRestoreElsewhere(t *testing.T) {
	for _, hold := range []bool{false, true} {
		t.Run(fmt.Sprintf("hold %v", hold), func(t *testing.T) {
			r := newResumed(t)
			r.bot.Say(person, "slow one")
			r.until("the model is asked", func() bool { return r.waits("slow one") })
			path := r.backUp()
			close(r.gate)
			r.until("the person is answered", func() bool { return r.told("the answer to slow one") == 1 })
			r.stop()

			r.dir = filepath.Join(t.TempDir(), "elsewhere")
			o := restoreOptions(t, r.dir)
			o.Hold = hold
			done, err := restoreFrom(t, o, path)
			check(t, err)
			if c := done.Carried; c.Replaced || hold && (c.Held != 1 || c.Open != 0) || !hold && c.Open != 1 || done.Pre != "" {
				t.Errorf("%+v", done)
			}
			r.begin()
			r.bot.Say(person, "after")
			r.until("the person is answered", func() bool { return r.told("the answer to after") == 1 })
			dead, err := bus.QueueList.Ask(t.Context(), r.call, bus.QueueQuery{State: bus.StateDead})
			check(t, err)
			if hold != (len(dead.Letters) == 1) || hold != (r.times("slow one") == 1) {
				t.Errorf("the model was asked %d times; dead letters: %+v", r.times("slow one"), dead.Letters)
			}
		})
	}
}
