// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	steadyRate     = 50 // turns a second
	steadySessions = 1000
	atOnce         = int(steadyRate * modelTime / time.Second) // of the sessions: the others have spoken, or will
	burstWorkers   = 64
	tryAgain       = 100 * time.Millisecond // after a refusal
	hugeBytes      = 64 << 10               // agent.max_text_bytes
)

// speaker talks to the daemon and notes what it accepts.
type speaker struct {
	d      *daemon
	token  string
	book   *book
	client *http.Client
}

func newSpeaker(d *daemon, token string, b *book) *speaker {
	return (&speaker{d: d, token: token, book: b}).over(128)
}

// over is the same speaker, on so many connections of its own.
func (s *speaker) over(conns int) *speaker {
	other := *s
	other.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns}}
	return &other
}

// answer is the daemon's, to a message.
type answer struct {
	status int
	ID     string `json:"id"`
	State  string `json:"state"`
}

func (a answer) accepted() bool { return a.status == http.StatusOK || a.status == http.StatusAccepted }

// say hands a message over; wait, such as "30s", is how long to wait for the reply.
func (s *speaker) say(ctx context.Context, session, text, wait string) (answer, error) {
	a, err := s.post(ctx, session, text, wait)
	switch {
	case ctx.Err() != nil && err != nil:
		return a, ctx.Err() // the phase is over
	case err != nil:
		s.book.broken.Add(1)
	case a.accepted():
		s.book.accept(a.ID)
	default:
		s.book.refused.Add(1)
	}
	return a, err
}

func (s *speaker) post(ctx context.Context, session, text, wait string) (a answer, err error) {
	body, err := json.Marshal(map[string]string{"session": session, "text": text})
	if err != nil {
		return a, err
	}
	url := s.d.at().Gateway + "/v1/messages"
	if wait != "" {
		url += "?wait=" + wait
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return a, err
	}
	if a.status = res.StatusCode; a.accepted() {
		err = json.Unmarshal(data, &a)
	}
	return a, err
}

// paced offers rate messages a second, whether the daemon keeps up or not, until ctx
// ends. At most so many are on their way.
func (s *speaker) paced(ctx context.Context, rate int, message func(n int) (session, text string)) {
	const most = 256
	free := make(chan struct{}, most)
	var group sync.WaitGroup
	defer group.Wait()
	began := time.Now()
	for n := 0; sleep(ctx, time.Until(began.Add(time.Duration(n)*time.Second/time.Duration(rate)))); n++ {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		group.Go(func() {
			defer func() { <-free }()
			session, text := message(n)
			_, _ = s.say(ctx, session, text, "") // counted
		})
	}
}

// hurry has so many workers send one message after another, as fast as the answers
// come, until ctx ends or most messages are sent.
func (s *speaker) hurry(ctx context.Context, workers int, most int64, wait string, message func(n int64) (session, text string)) {
	var sent atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				n := sent.Add(1) - 1
				if n >= most {
					return
				}
				session, text := message(n)
				if a, err := s.say(ctx, session, text, wait); err != nil || !a.accepted() {
					sent.Add(-1)
					sleep(ctx, tryAgain)
				}
			}
		})
	}
	group.Wait()
}

// steady is the load of a busy house.
func (s *speaker) steady(ctx context.Context) {
	s.paced(ctx, steadyRate, func(n int) (string, string) {
		return fmt.Sprintf("s-%d", n%steadySessions), fmt.Sprintf("hello, this is message %d", n)
	})
}

// burst is as much as goes, in the same sessions.
func (s *speaker) burst(ctx context.Context) {
	s.hurry(ctx, burstWorkers, 1<<62, "30s", func(n int64) (string, string) {
		return fmt.Sprintf("s-%d", n%steadySessions), fmt.Sprintf("hurry, this is message %d", n)
	})
}

// swingHalf is how long the load of swing lasts, and how long the pause after it.
const (
	swingHalf    = 15 * time.Second
	swingWorkers = 48
)

// swing is a load that comes and goes, large enough to be felt.
func (s *speaker) swing(ctx context.Context) {
	text := strings.Repeat("so much to say ", hugeBytes/2/15)
	for ctx.Err() == nil {
		on, stop := context.WithTimeout(ctx, swingHalf)
		s.hurry(on, swingWorkers, 1<<62, "30s", func(n int64) (string, string) { return fmt.Sprintf("swing-%d", n%400), text })
		stop()
		sleep(ctx, swingHalf)
	}
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
