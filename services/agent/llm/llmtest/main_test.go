// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

// The program tells how to ask it, answers both vendors' questions, and prints
// the bill at its end.
func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, nil, w)
		w.CloseWithError(err)
		ended <- err
	}()
	lines := bufio.NewScanner(r)
	var said []string
	for len(said) < 4 && lines.Scan() {
		said = append(said, lines.Text())
	}
	if len(said) < 4 || !strings.Contains(said[3], "BLUFIO_AGENT__PROVIDER=anthropic BLUFIO_ANTHROPIC__BASE_URL=http://127.0.0.1:") {
		t.Fatalf("it says %q", said)
	}
	url := func(line string) string { return line[strings.Index(line, "http://"):] }
	for at, question := range map[string]string{
		url(said[2]) + "/chat/completions": `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`,
		url(said[3]) + "/v1/messages":      `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at, strings.NewReader(question))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Anthropic-Version", "2023-06-01")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.Body.Close() != nil || !strings.Contains(string(body), "You ") || !strings.Contains(string(body), "hi") {
			t.Errorf("%s answers %s, %v", at, body, err)
		}
	}
	stop()
	bills := 0
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "billed: m, ") {
			bills++
		}
	}
	if err := <-ended; err != nil || bills != 2 {
		t.Errorf("%d bills, %v", bills, err)
	}
}

func TestReply(t *testing.T) {
	if a := reply(fakellm.Question{Text: `recall {"query":"x"}`, Tools: []string{"recall"}}); len(a.Calls) != 1 || a.Calls[0].Arguments != `{"query":"x"}` {
		t.Errorf("%+v", a)
	}
	if a := reply(fakellm.Question{Text: "recall the boiler", Tools: []string{"recall"}}); len(a.Calls) != 0 || strings.Join(a.Text, "") != "You said: recall the boiler" {
		t.Errorf("%+v", a)
	}
}

func TestFaults(t *testing.T) {
	at := 0.0
	f := faults{roll: func() float64 { return at }}
	for _, bad := range []string{"", "429", "429=2", "429=NaN", "boom=0.1"} {
		if f.set(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, good := range []string{"429=0.2", "truncate=0.3", "stall=0", "529=0.1"} {
		if err := f.set(good); err != nil {
			t.Error(err)
		}
	}
	for roll, want := range map[float64]fakellm.Answer{0.1: fakellm.Limited("1"), 0.3: {End: fakellm.Cut}, 0.55: fakellm.Overloaded(), 0.7: {}} {
		at = roll
		if got := f.twist(fakellm.Answer{}); got.Status != want.Status || got.End != want.End {
			t.Errorf("at %v: %+v", roll, got)
		}
	}
}
