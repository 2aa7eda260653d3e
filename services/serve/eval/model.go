// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"

	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

// model does what a good model would, without understanding anything: it keeps what the plan says is worth keeping, answers what the
// plan says, and sums up by taking over the person's sentences that have a name or a number in them.
type model struct {
	mu        sync.Mutex
	now       turn
	material  string // of the summary that was asked for last
	summaries int
}

// serve lets it answer.
func (m *model) serve(vendors *fakellm.Vendors) {
	vendors.Anthropic.Reply(m.answer)
	vendors.Anthropic.CacheFrom(1024)
}

// turn says what it answers to next.
func (m *model) turn(t turn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = t
}

func (m *model) answer(q fakellm.Question) fakellm.Answer {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case len(q.Tools) == 0:
		m.summaries++
		return says(m.summary(q.Text))
	case m.now.keep != nil && len(q.Results) == 0:
		args := map[string]string{"text": m.now.keep.text}
		if m.now.keep.about != "" {
			args["about"] = m.now.keep.about
		}
		data, err := json.Marshal(args)
		if err != nil {
			panic(err) // texts
		}
		return fakellm.Answer{Calls: []fakellm.Call{{Name: "remember", Arguments: string(data)}}, Metered: true}
	}
	return says(m.now.reply)
}

func says(text string) fakellm.Answer {
	return fakellm.Answer{Text: strings.SplitAfter(text, " "), Metered: true}
}

var (
	wordLimit = regexp.MustCompile(`at most (\d+) words`)
	sentence  = regexp.MustCompile(`[^.?!]+[.?!]`)
	missing   = regexp.MustCompile(`"([^"]+)"`)
)

// summary takes over what tells something, the newest first as long as there is room for it; what was said to be missing goes before.
func (m *model) summary(asked string) string {
	var first []string
	if strings.HasPrefix(asked, "That cannot stand") {
		for _, found := range missing.FindAllStringSubmatch(asked, -1) {
			first = append(first, found[1])
		}
	} else {
		m.material = asked
	}
	room := 300
	if found := wordLimit.FindStringSubmatch(asked); found != nil {
		_, _ = fmt.Sscan(found[1], &room)
	}
	var kept []string
	for _, s := range first {
		room -= len(strings.Fields(s))
	}
	all := telling(m.material)
	for i := len(all) - 1; i >= 0; i-- {
		if room -= len(strings.Fields(all[i])); room < 0 {
			break
		}
		kept = append([]string{all[i]}, kept...)
	}
	if len(first) > 0 {
		kept = append(kept, "Also: "+strings.Join(first, ", ")+".")
	}
	if len(kept) == 0 {
		return "They talked about this and that."
	}
	return strings.Join(kept, " ")
}

// telling are the sentences of the summary before and of the person that have a name or a number.
func telling(material string) (out []string) {
	for line := range strings.Lines(material) {
		switch _, said, ok := strings.Cut(line, "] Person: "); {
		case ok:
			line = said
		case strings.HasPrefix(line, "Assistant: "), strings.HasPrefix(line, "What came before"), strings.HasPrefix(line, "The conversation:"), strings.HasPrefix(line, "The summary, "):
			continue
		}
		for _, s := range sentence.FindAllString(line, -1) {
			if s = strings.TrimSpace(s); tells(s) {
				out = append(out, s)
			}
		}
	}
	return out
}

func tells(s string) bool {
	if strings.HasSuffix(s, "?") {
		return false
	}
	for i, w := range strings.Fields(s) {
		first := rune(w[0])
		if strings.ContainsAny(w, "0123456789") || i > 0 && unicode.IsUpper(first) && w != "I" && !strings.HasPrefix(w, "I'") {
			return true
		}
	}
	return false
}
