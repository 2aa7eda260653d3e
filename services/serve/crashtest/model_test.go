// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// model is a server that speaks OpenAI's Chat Completions ("Chat Completions" in
// https://platform.openai.com/docs/api-reference/chat), streams with random
// pauses, asks for the tool where a message says "remember", and keeps the bills.
// It lives in the test's process, so no kill of the daemon touches it.
//
// Every answer names its number, and no other has its count of input tokens. So
// each row of the ledger, each note and each reply names the one bill it rests on.
type model struct {
	addr string

	mu     sync.Mutex
	server *http.Server // nil while it is down
	pace   pace
	gate   chan struct{} // answers wait until it is closed; nil: they do not
	status int           // refuse with it; 0: answer
	bills  []bill
	faults []string // prompts that are not the session's history
	most   int      // bytes of the longest prompt
}

// pace is how fast it answers, at most.
type pace struct{ first, piece time.Duration }

// bill is one answer.
type bill struct {
	question string // the person's message
	round    int    // results of tools that the prompt ended with
	whole    bool   // written to its end
	output   int64
}

// input is what the bill with that number counts for its prompt.
func input(n int) int64 { return 1000 + int64(n) }

// newModel starts one that lives until the end of the test.
func newModel(t *testing.T) *model {
	t.Helper()
	m := &model{addr: "127.0.0.1:0", pace: pace{first: 15 * time.Millisecond, piece: 3 * time.Millisecond}}
	m.up(t)
	t.Cleanup(m.down)
	return m
}

// up listens, at the same address as before.
func (m *model) up(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addr = l.Addr().String()
	m.server = &http.Server{Handler: http.HandlerFunc(m.answer)}
	go func(s *http.Server) { _ = s.Serve(l) }(m.server) // ends with down
}

// down refuses connections from now on, and breaks those there are.
func (m *model) down() {
	m.mu.Lock()
	s := m.server
	m.server = nil
	m.mu.Unlock()
	if s != nil {
		_ = s.Close()
	}
}

// hold keeps answers back until the channel that it returns is closed.
func (m *model) hold() chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gate = make(chan struct{})
	return m.gate
}

// refuse answers with a status from now on; 0 takes that back.
func (m *model) refuse(status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status = status
}

// config are the settings for it, with more of the section [agent] if wanted.
func (m *model) config(more ...string) string {
	return fmt.Sprintf(`
[agent]
compact_monthly_usd = 0
%s
provider = "openai"
model = "fake"
[openai]
base_url = "http://%s/v1"
[cost]
daily_usd = 0
monthly_usd = 0
[cost.prices.fake]
input = 1
output = 2
`, strings.Join(more, "\n"), m.addr)
}

// costs is the amount of a call at these prices, in millionths of a dollar.
func costs(input, output int64) int64 { return input + 2*output }

// message is one of a prompt.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// known begins what the daemon adds to a message of what it remembers of the person, and
// what is no part of the question.
const known = "\n\n[what you know of this person;"

func (m *model) answer(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	var req struct{ Messages []message }
	if err := errors.Join(err, json.Unmarshal(data, &req)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for i, msg := range req.Messages {
		req.Messages[i].Content, _, _ = strings.Cut(msg.Content, known)
	}
	question, results := split(req.Messages)
	n, b, p, status := m.begin(req.Messages, question, len(results), len(data))
	if status != 0 {
		http.Error(w, `{"error":{"message":"out of order","type":"server_error"}}`, status)
		return
	}
	if !m.wait(r.Context()) {
		return
	}
	time.Sleep(rand.N(p.first + 1))
	w.Header().Set("Content-Type", "text/event-stream")
	for _, frame := range frames(n, b, results) {
		if _, err := fmt.Fprintf(w, "data: %s\n\n", frame); err != nil {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		time.Sleep(rand.N(p.piece + 1))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bills[n].whole = true
}

// wait returns when answers may go, or false when the asker is gone.
func (m *model) wait(ctx context.Context) bool {
	m.mu.Lock()
	gate := m.gate
	m.mu.Unlock()
	if gate == nil {
		return true
	}
	select {
	case <-gate:
		return true
	case <-ctx.Done():
		return false
	}
}

// begin opens the next bill.
func (m *model) begin(prompt []message, question string, round, size int) (int, bill, pace, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.status != 0 {
		return 0, bill{}, m.pace, m.status
	}
	if fault := outOfOrder(prompt); fault != "" {
		m.faults = append(m.faults, fault)
	}
	m.most = max(m.most, size)
	n := len(m.bills)
	b := bill{question: question, round: round, output: int64(1 + n%97)}
	m.bills = append(m.bills, b)
	return n, b, m.pace, 0
}

// split finds the person's last message and what tools said since.
func split(prompt []message) (question string, results []string) {
	for _, msg := range prompt {
		switch msg.Role {
		case "user":
			question, results = msg.Content, nil
		case "tool":
			results = append(results, msg.Content)
		}
	}
	return question, results
}

var mark = regexp.MustCompile(`crash-(\d+)-(\d+)`)

// outOfOrder wants a prompt's messages from one speaker, each later than the one
// before and each with its own answer.
func outOfOrder(prompt []message) string {
	var last, speaker string
	number := -1
	for _, msg := range prompt {
		found := mark.FindStringSubmatch(msg.Content)
		switch {
		case found == nil:
		case msg.Role == "user":
			n, _ := strconv.Atoi(found[2])
			if speaker != "" && found[1] != speaker || n <= number {
				return fmt.Sprintf("a prompt has %s after %s", found[0], last)
			}
			last, speaker, number = found[0], found[1], n
		case found[0] != last:
			return fmt.Sprintf("a prompt answers %s with what belongs to %s", last, found[0])
		}
	}
	return ""
}

// frames are answer number n: a call of the tool, or words.
func frames(n int, b bill, results []string) [][]byte {
	var out [][]byte
	add := func(choices []any, usage any) {
		data, err := json.Marshal(map[string]any{"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000,
			"model": "fake", "choices": choices, "usage": usage})
		if err != nil {
			panic(err) // a defect of this test
		}
		out = append(out, data)
	}
	delta := func(delta map[string]any, finish any) {
		add([]any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}}, nil)
	}
	finish := "stop"
	if note, ok := strings.CutPrefix(b.question, "remember "); ok && len(results) == 0 {
		args, _ := json.Marshal(map[string]string{"text": kept(note, n)}) // a map of strings has JSON
		delta(map[string]any{"role": "assistant", "tool_calls": []any{map[string]any{"index": 0, "id": fmt.Sprintf("call_%d", n),
			"type": "function", "function": map[string]any{"name": "remember", "arguments": string(args)}}}}, nil)
		finish = "tool_calls"
	} else {
		for _, piece := range strings.SplitAfter(spoken(n, b.question, results), " ") {
			delta(map[string]any{"content": piece}, nil)
		}
	}
	delta(map[string]any{}, finish)
	add([]any{}, map[string]any{"prompt_tokens": input(n), "completion_tokens": b.output, "total_tokens": input(n) + b.output})
	return append(out, []byte("[DONE]"))
}

// kept is the note that answer number n asks for.
func kept(note string, n int) string { return fmt.Sprintf("%s, says call %d", note, n) }

// spoken is what answer number n says.
func spoken(n int, question string, results []string) string {
	if len(results) > 0 {
		return fmt.Sprintf("Call %d has done it. %s", n, strings.Join(results, " "))
	}
	return fmt.Sprintf("Call %d has nothing to say to %q", n, question)
}

var callNumber = regexp.MustCompile(`^Call (\d+) `)

// spokenBy is the number of the answer that says text, -1 for none.
func spokenBy(text string) int {
	if found := callNumber.FindStringSubmatch(text); found != nil {
		n, _ := strconv.Atoi(found[1]) // digits
		return n
	}
	return -1
}

// seen returns the bills and what was wrong with prompts.
func (m *model) seen() ([]bill, []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]bill(nil), m.bills...), append([]string(nil), m.faults...)
}
