// SPDX-License-Identifier: MIT OR Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const gateway = "http://127.0.0.1:3000"

// message is what the gateway tells of one.
type message struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Reply string `json:"reply"`
}

// http makes a request; it may fail, for the daemon may be down.
func (m *machine) http(method, url, token, key, body string) (code int, text []byte, err error) {
	r, err := http.NewRequestWithContext(m.Context(), method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	resp, err := m.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	text, err = io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// token is one for the gateway.
func (m *machine) token() string {
	m.Helper()
	return strings.TrimSpace(m.run("blufio", "token"))
}

// say hands a message in and returns its id.
func (m *machine) say(token, text string) (id string) {
	m.Helper()
	code, body, err := m.http(http.MethodPost, gateway+"/v1/messages", token, "", fmt.Sprintf(`{"session":"main","text":%q}`, text))
	var got message
	if err == nil {
		err = json.Unmarshal(body, &got)
	}
	if err != nil || code != http.StatusAccepted {
		m.Fatalf("a message is answered with %d %s (%v)", code, body, err)
	}
	return got.ID
}

// answered waits for the reply to a message.
func (m *machine) answered(token, id, want string) {
	m.Helper()
	var body []byte
	m.eventually(40*time.Second, "message "+id+" is answered", func() bool {
		var got message
		code, text, err := m.http(http.MethodGet, gateway+"/v1/messages/"+id, token, "", "")
		body = text
		told := err == nil && code == http.StatusOK && json.Unmarshal(text, &got) == nil
		if told && got.State == "failed" {
			m.Fatalf("message %s is %s", id, text)
		}
		return told && got.State == "answered"
	})
	if !strings.Contains(string(body), want) {
		m.Errorf("the reply to %s is %s, want %q in it", id, body, want)
	}
}

// load hands messages in, in sessions of their own, until stop is called, whatever happens to the daemon.
// stop returns the ids of those that it accepted.
func (m *machine) load(token string) (stop func() []string) {
	var mu sync.Mutex
	var ids []string
	done := make(chan struct{})
	var senders sync.WaitGroup
	for sender := range 4 {
		senders.Go(func() {
			for n := 0; ; n++ {
				// The same key until it is accepted: a lost answer is not a second message.
				key := fmt.Sprintf("load-%d-%d", sender, n)
				for accepted := false; !accepted; {
					select {
					case <-done:
						return
					default:
					}
					var got message
					code, body, err := m.http(http.MethodPost, gateway+"/v1/messages", token, key, fmt.Sprintf(`{"session":"load-%d","text":"number %d"}`, sender, n))
					if accepted = err == nil && code == http.StatusAccepted && json.Unmarshal(body, &got) == nil; accepted {
						mu.Lock()
						ids = append(ids, got.ID)
						mu.Unlock()
					}
					time.Sleep(20 * time.Millisecond) // a person who tries again
				}
			}
		})
	}
	return func() []string {
		close(done)
		senders.Wait()
		return ids
	}
}
