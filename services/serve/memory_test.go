// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/blufio/blufio/services/config"
)

// machine is one whose process's memory a test sets.
type machine struct {
	mu      sync.Mutex
	rss     int // MiB
	forward time.Duration
}

func (m *machine) set(rss int, later time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rss = rss
	m.forward += later
}

func (m *machine) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Add(m.forward)
}

func (m *machine) statm() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Appendf(nil, "99999 %d 3 4 0 5 0\n", m.rss)
}

// Open implements fs.FS: there is nothing but the process's statm.
func (m *machine) Open(name string) (fs.File, error) {
	f, err := fstest.MapFS{"proc/self/statm": {Data: m.statm()}}.Open(name)
	return statm{f, m}, err
}

// statm is an open file that has the content of now.
type statm struct {
	fs.File
	m *machine
}

func (s statm) ReadAt(p []byte, _ int64) (int, error) { return copy(p, s.m.statm()), io.EOF }

// post sends a request with a token and returns its answer.
func post(t *testing.T, url, token, body string) (status int, header http.Header, answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

// A whole daemon on a machine whose memory runs out: it warns and sheds, refuses new
// sessions on every way in, goes on with those that there are, and comes back.
func TestMemoryRunsOut(t *testing.T) {
	m, tg := &machine{rss: 50}, fakebot.Start(t)
	c, info := daemonOf(t, func(o *Options) {
		o.Config.Memory.LimitMB = 100
		o.Config.Telegram.APIURL, o.Config.Telegram.BotToken, o.Config.Telegram.Allow = tg.URL(), config.NewSecret(tg.Token()), []int64{known, stranger}
		o.Config.Gateway.MaxBodyBytes, o.Config.Gateway.MaxConnections, o.Config.Agent.PicturesMB, o.Config.Agent.MaterialMB, o.Config.Recall.IndexMB = 64<<10, 64, 1, 1, 1 // what has a bound fits into that
		o.Now, o.Memory = m.now, m.deps()
	})
	token, err := bus.TokenIssue.Ask(t.Context(), c, bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 36000})
	if err != nil {
		t.Fatal(err)
	}
	if st, _, answer := post(t, info.Gateway+"/v1/messages", token.Token, `{"session":"old","text":"hello"}`); st != http.StatusAccepted {
		t.Fatalf("in calm: %d %s", st, answer)
	}
	if r := say(t, c, "hello"); r.State != bus.StateAnswered {
		t.Fatalf("in calm: %+v", r)
	}
	others := []entrance{telegramEntrance(t, tg), socketEntrance(t, info, token.Token), keyEntrance(t, c)}
	for _, e := range others {
		e.goesOn(t, "in calm")
	}
	level := func(want string) {
		t.Helper()
		awaitMetric(t, info, "blufio_memory_pressure", map[string]string{"normal": "0", "warn": "1", "critical": "2"}[want])
	}
	m.set(85, 0)
	level("warn")
	awaitMetric(t, info, "blufio_gateway_connections_limit", "64") // it goes on
	if st, _, answer := post(t, info.Gateway+"/v1/messages", token.Token, `{"session":"second","text":"hello"}`); st != http.StatusAccepted {
		t.Errorf("with a warning: %d %s", st, answer)
	}
	m.set(97, 0)
	level("critical")
	for _, tc := range []struct {
		path, body string
		want       int
	}{
		{"/v1/messages", `{"session":"new-%d","text":"hello"}`, http.StatusServiceUnavailable},
		{"/v1/chat/completions", `{"model":"blufio","messages":[{"role":"user","content":"hello"}]}`, http.StatusServiceUnavailable},
		{"/v1/messages", `{"session":"old","text":"hello again"}`, http.StatusAccepted},
		{"/v1/messages?wait=5s", `{"session":"second","text":"hello again"}`, http.StatusOK},
	} {
		var st, tries int
		var header http.Header
		var answer string
		bustest.Eventually(t, fmt.Sprintf("%s %s: %d", tc.path, tc.body, tc.want), func() bool { // the agent hears of the level a moment later
			tries++ // a session that was let in until then is not new any more
			st, header, answer = post(t, info.Gateway+tc.path, token.Token, strings.ReplaceAll(tc.body, "%d", strconv.Itoa(tries)))
			return st == tc.want
		}, func() any { return fmt.Sprint(st, " ", answer) })
		if st == http.StatusServiceUnavailable && (header.Get("Retry-After") != "30" || !strings.Contains(answer, "memory is short") || !json.Valid([]byte(answer))) {
			t.Errorf("%s: %v %s", tc.path, header, answer)
		}
	}
	if _, err := bus.MessageReceive.Ask(t.Context(), c, bus.Message{Channel: "terminal", Owner: "owner", Session: "new", Text: "hello"}); !bus.Retryable(err) || bus.CodeOf(err) != bus.CodeBusy {
		t.Errorf("at the terminal: %v", err)
	}
	if r := say(t, c, "hello"); r.State != bus.StateAnswered {
		t.Errorf("the terminal's session: %+v", r)
	}
	for _, e := range others {
		e.refuses(t)
		e.goesOn(t, "when critical")
	}
	m.set(40, 0)
	for range 2 { // a level is left when the lower one has lasted
		awaitReading(t, info, m)
	}
	level("normal")
	if st, _, answer := post(t, info.Gateway+"/v1/messages", token.Token, `{"session":"new","text":"hello"}`); st != http.StatusAccepted {
		t.Errorf("afterwards: %d %s", st, answer)
	}
	if page := scrape(t, info); !strings.Contains(page, "blufio_sessions_refused_total ") || strings.Contains(page, "blufio_sessions_refused_total 0\n") {
		t.Error("refused sessions are not counted")
	}
}

// awaitReading waits until the governor has seen what m says now, then moves its clock.
func awaitReading(t *testing.T, info Info, m *machine) {
	t.Helper()
	awaitMetric(t, info, "blufio_memory_rss_bytes", fmt.Sprint(float64(m.rss<<20)))
	m.set(m.rss, 31*time.Second)
}

// awaitMetric waits until a series without labels has a value.
func awaitMetric(t *testing.T, info Info, name, want string) {
	t.Helper()
	got := ""
	bustest.Eventually(t, name+" is "+want, func() bool {
		_, after, _ := strings.Cut("\n"+scrape(t, info), "\n"+name+" ")
		got, _, _ = strings.Cut(after, "\n")
		return got == want
	}, func() any { return got })
}
