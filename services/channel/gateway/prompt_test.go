// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/blufio/blufio/bus/bustest"
)

// The transcript has its bound: instructions are kept first, then the latest.
func TestLongTranscript(t *testing.T) {
	p := &prompt{}
	add := func(role, text string) { p.messages = append(p.messages, chatMessage{role, text}) }
	add(roleSystem, "Be brief.")
	add(roleUser, "old "+strings.Repeat("x", maxTranscript/2))
	add(roleAssistant, "middle "+strings.Repeat("y", maxTranscript/2))
	add(roleUser, "new "+strings.Repeat("z", maxTranscript/4))
	add(roleAssistant, "newest")
	add(roleUser, "now")
	got := p.transcript()
	for text, kept := range map[string]bool{"Be brief.": true, "old ": false, "middle ": true, "new z": true, "newest": true, "now": true, "messages are left out": true} {
		if strings.Contains(got, text) != kept {
			t.Errorf("%q kept: %v", text, !kept)
		}
	}
	if len(got) > maxTranscript+200 || !strings.HasSuffix(got, "\n\nnow") {
		t.Errorf("%d bytes", len(got))
	}
	p.messages[0].text = strings.Repeat("s", maxTranscript) // takes nothing else with it
	p.messages[1].text = "oldest"
	got = p.transcript()
	for text, kept := range map[string]bool{"sss": false, "oldest": true, "middle ": true, "new z": true, "newest": true} {
		if strings.Contains(got, text) != kept {
			t.Errorf("%q kept with a long instruction: %v", text, !kept)
		}
	}
	p.messages[2].text = strings.Repeat("y", maxTranscript)
	if got = p.transcript(); strings.Contains(got, "oldest") || !strings.Contains(got, "new z") {
		t.Errorf("the history has a hole: %.300s", got)
	}
}

// Whatever a body is made of, it takes no more memory than Config.Bytes counts.
func TestPromptIsBounded(t *testing.T) {
	fill := func(before, unit, after string) string {
		room := Defaults().MaxBodyBytes - len(before) - len(after)
		return before + strings.Repeat(unit, room/len(unit)) + after
	}
	for name, body := range map[string]string{
		"tools":       fill(`{"tools":[`, "0,", `0]}`),
		"functions":   fill(`{"functions":[`, "{},", `{}]}`),
		"modalities":  fill(`{"modalities":[`, `"",`, `""]}`),
		"messages":    fill(`{"messages":[`, "0,", `0]}`),
		"empty ones":  fill(`{"messages":[`, "{},", `{}]}`),
		"short ones":  fill(`{"messages":[`, `{"role":"user"},`, `{}]}`),
		"a long one":  fill(`{"messages":[{"role":"user","content":"`, "x", `"}]}`),
		"parts":       fill(`{"messages":[{"role":"user","content":[`, "0,", `0]}]}`),
		"empty parts": fill(`{"messages":[{"role":"user","content":[`, `{"type":"text"},`, `0]}]}`),
		"tool calls":  fill(`{"messages":[{"role":"user","tool_calls":[`, "0,", `0]}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte(body)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			p, err := decodePrompt(data)
			if err == nil {
				_ = p.transcript()
			}
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > bodyCopies*uint64(len(body)) {
				t.Errorf("a body of %d KiB takes %d KiB: %v", len(body)>>10, took>>10, err)
			}
		})
	}
}

// A completion that waits keeps nothing of its request.
func TestWaitingCompletionIsSmall(t *testing.T) {
	r := start(t)
	body := `{"messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat("x", 80)+`"},`, maxElements-1) + `{"role":"user","content":"hello"}]}`
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const n = 16
	header := r.completionHeader()
	before := heap()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, "POST", r.url+"/v1/chat/completions", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			for i := 0; i < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			if resp, err := r.client.Do(req); err == nil {
				resp.Body.Close()
				t.Errorf("it was answered: %s", resp.Status)
			}
		})
	}
	for range n {
		<-r.agent.asked
	}
	r.agent.set(func() { // the texts are the agent's
		r.agent.last.Text = ""
		for _, rec := range r.agent.byID {
			rec.Text = ""
		}
	})
	bustest.Eventually(t, "a waiting completion holds less than half its body", func() bool { return (heap()-before)/n < len(body)/2 })
	cancel()
	wg.Wait()
}
