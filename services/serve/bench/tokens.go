// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

// tokens counts what one word costs, on the wire of both vendors: the bytes of
// system prompt, messages and tools, four to a token.
func (r *run) tokens() error {
	if r.box.pinned {
		return nil // where it runs makes no difference
	}
	for _, v := range []struct{ provider, name string }{{"anthropic", "Anthropic"}, {"openai", "OpenAI"}} {
		if err := r.tokensOf(v.provider, v.name); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) tokensOf(provider, name string) (err error) {
	const hello, long = 20, 60
	out, err := r.newOutside(provider)
	if err != nil {
		return err
	}
	defer out.close()
	d, err := r.startFresh("tokens", out.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	token, err := r.token(d)
	if err != nil {
		return err
	}
	client := &http.Client{}
	defer client.CloseIdleConnections()
	talk := func(session string, text func(n int) string, reply string, turns int) error {
		out.answers(fakellm.Answer{Text: strings.SplitAfter(reply, " "), Metered: true})
		for n := range turns {
			if err := post(r.ctx, client, d, token, session, text(n)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := talk("hello", func(int) string { return "hello" }, "Hello! What can I do for you?", hello); err != nil {
		return err
	}
	sizes, bills := out.asked(provider)
	if len(sizes) != hello {
		return fmt.Errorf("the model was asked %d times in %d turns", len(sizes), hello)
	}
	r.report.add(r.box, name+": input tokens for hello, first message", "tokens", "≤ 1500", 1500, sizes[:1], median)
	r.report.add(r.box, name+": input tokens for hello, tenth message", "tokens", "≤ 2500", 2500, sizes[9:10], median)
	r.report.add(r.box, fmt.Sprintf("%s: of the input tokens of %d turns, asked before", name, hello), "%", "≥ 90", -90, []float64{100 * fakellm.SeenShare(bills)}, median)

	// No two questions are alike: a window that moves must not find what another began with.
	question := func(n int) string { return fmt.Sprintf("%d: ", n) + strings.Repeat("tell me more of this ", 30) }
	reply := strings.Repeat("there is a lot to say about that ", 30)
	if err := talk("long", question, reply, long); err != nil {
		return err
	}
	sizes, bills = out.asked(provider)
	r.report.add(r.box, fmt.Sprintf("%s: the same of %d turns of 400 tokens, beyond the history's budget", name, long), "%", "for comparison", 0,
		[]float64{100 * fakellm.SeenShare(bills[hello:])}, median)
	r.report.add(r.box, fmt.Sprintf("%s: input tokens of the largest of them", name), "tokens", "for comparison", 0, sizes[hello:], most)
	return nil
}

// asked is what a vendor was asked, oldest first.
func (o *outside) asked(provider string) (tokens []float64, bills []fakellm.Bill) {
	if provider == "anthropic" {
		for _, q := range o.models.Anthropic.Requests() {
			tokens = append(tokens, float64(q.PromptTokens()))
		}
		return tokens, o.models.Anthropic.Bills()
	}
	for _, q := range o.models.OpenAI.Requests() {
		tokens = append(tokens, float64(q.PromptTokens()))
	}
	return tokens, o.models.OpenAI.Bills()
}
