// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

// full is the same conversation with everything that was said in every prompt: with the agent's instructions and tools, one call for a turn
// since nothing has to be remembered, and marked for the cache as well as it goes, which is at the instructions and at
// the end. Then everything can be answered, for as long as a model can be given so much.
func full(ctx context.Context, p plan, like fakellm.AnthropicRequest) (res result, err error) {
	models, err := fakellm.Start("127.0.0.1:0")
	if err != nil {
		return res, err
	}
	defer models.Close()
	models.Anthropic.Keep(1)
	models.Anthropic.Always(fakellm.Answer{Text: []string{"ok"}, Metered: true})
	models.Anthropic.CacheFrom(1024)
	req := fakellm.AnthropicRequest{Model: like.Model, MaxTokens: like.MaxTokens, Stream: true, System: like.System, Tools: like.Tools}
	res = newResult("full history")
	for i, t := range p.turns {
		if i%perDay == 0 {
			models.Anthropic.Expire()
		}
		req.Messages = append(req.Messages, message("user", t.text, true))
		if err := post(ctx, models.Anthropic.URL(), req); err != nil {
			return res, fmt.Errorf("ask with the full history: %w", err)
		}
		res.turn(models.Anthropic.Bills())
		req.Messages[len(req.Messages)-1] = message("user", t.text, false)
		req.Messages = append(req.Messages, message("assistant", t.reply, false))
	}
	said, err := json.Marshal(req.Messages)
	if err != nil {
		return res, err
	}
	for _, q := range p.questions {
		s := scored{kind: q.kind}
		s.answerable[0], s.outdated[0] = judge(said, q)
		res.questions = append(res.questions, s)
	}
	return res, nil
}

func message(role, text string, last bool) fakellm.AnthropicMessage {
	b := fakellm.Block{Type: "text", Text: text}
	if last {
		b.CacheControl = &fakellm.CacheControl{Type: "ephemeral"}
	}
	return fakellm.AnthropicMessage{Role: role, Content: []fakellm.Block{b}}
}

func post(ctx context.Context, url string, req fakellm.AnthropicRequest) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Anthropic-Version", "2023-06-01")
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %d: %s", res.StatusCode, answer[:min(len(answer), 300)])
	}
	return err
}

// everything is both: what a plan gives in each way, the full history last.
func everything(ctx context.Context, p plan, ways []way) (out []result, err error) {
	for _, w := range ways {
		r, err := evaluate(ctx, p, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		out = append(out, r)
	}
	whole, err := full(ctx, p, out[0].last)
	if err != nil {
		return nil, err
	}
	return append(out, whole), nil
}
