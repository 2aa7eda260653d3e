// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

const (
	telegramTurns = 200
	// A person takes a moment to write. Without one, the 40 ms that are kept between
	// any two messages for Telegram's sake would be measured.
	betweenTurns = 100 * time.Millisecond
)

// telegramTurns measures a person's message by Telegram: from the moment it waits at
// Telegram to the first words of the answer arriving there, and to its last.
func (r *run) telegramTurns() (err error) {
	out, err := r.newOutside("openai")
	if err != nil {
		return err
	}
	defer out.close()
	reply := strings.Repeat("Every word of it is streamed. ", 10)
	out.answers(fakellm.Says(strings.SplitAfter(reply, " ")...))
	d, err := r.startFresh("telegram", out.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	var first, whole, plain []float64
	for i := range telegramTurns + 10 {
		f, w, err := r.telegramTurn(out, i, strings.TrimSpace(reply))
		if err != nil {
			return err
		}
		if i >= 10 { // the first ones warm up
			first, whole = append(first, ms(f)), append(whole, ms(w))
		}
		time.Sleep(betweenTurns)
		p, err := plainExchange(out)
		if err != nil {
			return err
		}
		plain = append(plain, ms(p))
	}
	commits, err := oneRowCommits(filepath.Join(r.tmp, "yardstick.db"))
	if err != nil {
		return err
	}
	r.report.add(r.box, "one-row FULL commit, same disk, p99", "ms", "yardstick", 0, commits, p99)
	r.report.add(r.box, "one plain request to the fake Telegram, p50", "ms", "yardstick", 0, plain, median)
	r.report.add(r.box, "Telegram: own share until the first words arrive, p50", "ms", "≤ 15", 15, first, median)
	r.report.add(r.box, "Telegram: the same, p99", "ms", "for comparison", 0, []float64{p99(first)}, median)
	r.report.add(r.box, "Telegram: the whole streamed turn, with 40 ms kept between two messages, p50", "ms", "for comparison", 0, whole, median)
	return nil
}

// plainExchange is what a request costs without blufio. It is made from this
// process, which is not in the box.
func plainExchange(out *outside) (time.Duration, error) {
	began := time.Now()
	res, err := http.Post(out.bot.URL()+"/bot"+out.bot.Token()+"/sendChatAction", "application/json", strings.NewReader(`{"chat_id":1}`))
	if err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, res.Body.Close()
}

// telegramTurn is the n-th message of the person.
func (r *run) telegramTurn(out *outside, n int, want string) (first, whole time.Duration, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, 30*time.Second)
	defer cancel()
	began := time.Now()
	out.bot.Say(person, fmt.Sprintf("hello %d", n))
	answered := func() bool {
		chat := out.bot.Chat(person)
		return len(chat) == n+1 && chat[n].Plain == want
	}
	if !out.bot.Wait(ctx, answered) {
		return 0, 0, fmt.Errorf("message %d was not answered within 30 s", n)
	}
	whole = time.Since(began)
	for _, q := range out.bot.Requests("sendMessage") {
		if q.At.After(began) {
			return q.At.Sub(began), whole, nil
		}
	}
	return 0, 0, errors.New("there was an answer, and no sendMessage")
}
