// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/nats-io/nats.go"
)

// The offer: every 10 ms the next of the sessions says something, whether the
// daemon keeps up or not. They come by the gateway: Telegram lets a bot send 30
// messages a second.
const (
	sessions    = 1000
	offered     = 100 // turns a second
	offeredFor  = 60 * time.Second
	modelsTime  = 2 * time.Second
	latestReply = 30 * time.Second // after the last message
)

// manySessions offers 100 turns a second to a model that thinks for 2 s, so that 200
// turns are under way all the time. When a message began to be answered is told by
// the events on the bus, as to any tool that listens.
func (r *run) manySessions() (err error) {
	if r.box.pinned {
		return nil // the offer is made for two processors
	}
	out, err := r.newOutside("openai")
	if err != nil {
		return err
	}
	defer out.close()
	out.answers(fakellm.Says("It ", "is ", "so."))
	out.models.OpenAI.Latency(modelsTime)
	d, err := r.startFresh("sessions", out.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	token, err := r.token(d)
	if err != nil {
		return err
	}
	ends, err := listen(d)
	if err != nil {
		return err
	}
	defer ends.close()
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	memory := watchMemory(ctx, d.info.PID)
	sent, err := r.offer(d, token)
	if err == nil {
		err = ends.wait(len(sent), latestReply)
	}
	stop()
	seen := <-memory
	if err := errors.Join(err, seen.err); err != nil {
		return err
	}
	return r.reportSessions(sent, ends, seen.rss)
}

func (r *run) reportSessions(sent map[string]time.Time, ends *ends, rss []float64) error {
	var queued, beyond []float64
	var last time.Time
	for _, f := range ends.all() {
		at, ok := sent[f.MessageID]
		if !ok {
			return fmt.Errorf("a message %s was answered that was not sent", f.MessageID)
		}
		queued = append(queued, float64(f.QueuedMS))
		beyond = append(beyond, ms(f.Time.Sub(at)-modelsTime))
		if f.Time.After(last) {
			last = f.Time
		}
	}
	first := last
	for _, at := range sent {
		if at.Before(first) {
			first = at
		}
	}
	what := fmt.Sprintf("%d sessions, a model that takes %s, %d turns/s offered for %s: all answered, at", sessions, modelsTime, offered, offeredFor)
	rate := float64(len(queued)) / (last.Sub(first) - modelsTime).Seconds()
	r.report.add(r.box, what, "turns/s", "for comparison", 0, []float64{rate}, median)
	r.report.add(r.box, "thousand sessions: longest wait in the queue", "ms", "≤ 5000", 5000, queued, most)
	r.report.add(r.box, "thousand sessions: sent to answered, beyond the model's time, longest", "ms", "≤ 5000", 5000, beyond, most)
	r.report.add(r.box, "thousand sessions: the same, p50", "ms", "for comparison", 0, []float64{median(beyond)}, median)
	r.report.add(r.box, "thousand sessions: RSS meanwhile, most", "MB", "≤ 110", 110, rss, most)
	r.report.add(r.box, "thousand sessions: RSS meanwhile, median", "MB", "≤ 110", 110, []float64{median(rss)}, median)
	return nil
}

// offer sends the messages, and returns when each was.
func (r *run) offer(d *daemon, token string) (map[string]time.Time, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var failed error
	sent := map[string]time.Time{}
	var group sync.WaitGroup
	began := time.Now()
	for n := range int(offeredFor.Seconds() * offered) {
		at := began.Add(time.Duration(n) * time.Second / offered)
		time.Sleep(time.Until(at))
		group.Go(func() {
			id, err := hand(r.ctx, client, d, token, fmt.Sprintf("s-%d", n%sessions), fmt.Sprintf("hello %d", n))
			mu.Lock()
			defer mu.Unlock()
			sent[id], failed = at, errors.Join(failed, err)
		})
	}
	group.Wait()
	return sent, failed
}

// ends hears how turns end.
type ends struct {
	nc *nats.Conn

	mu    sync.Mutex
	facts map[string]bus.TurnFact // by message: events may come twice
	fault error
	news  chan struct{}
}

// listen connects to the bus with the device's own key.
func listen(d *daemon) (*ends, error) {
	device, err := embedded.LoadDevice(d.dir)
	if err != nil {
		return nil, err
	}
	e := &ends{facts: map[string]bus.TurnFact{}, news: make(chan struct{}, 1)}
	e.nc, err = nats.Connect(d.info.Bus, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox))
	if err != nil {
		return nil, err
	}
	for _, lane := range []bus.Event[bus.TurnFact]{bus.TurnCompleted, bus.TurnFailed} {
		if _, err := e.nc.Subscribe(lane.Spec().Subject(), e.hear); err != nil {
			e.nc.Close()
			return nil, err
		}
	}
	return e, e.nc.Flush()
}

func (e *ends) hear(m *nats.Msg) {
	var f bus.TurnFact
	err := json.Unmarshal(m.Data, &f)
	if err == nil && f.State != bus.StateAnswered {
		err = fmt.Errorf("message %s: %s, %s", f.MessageID, f.State, f.Error)
	}
	e.mu.Lock()
	if e.facts[f.MessageID] = f; err != nil && e.fault == nil {
		e.fault = err
	}
	e.mu.Unlock()
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// wait waits until so many turns have ended.
func (e *ends) wait(turns int, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		e.mu.Lock()
		n, fault := len(e.facts), e.fault
		e.mu.Unlock()
		if fault != nil || n >= turns {
			return fault
		}
		select {
		case <-e.news:
		case <-timer.C:
			return fmt.Errorf("%d of %d messages are answered %s after the last", n, turns, limit)
		}
	}
}

func (e *ends) all() (facts []bus.TurnFact) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.facts {
		facts = append(facts, f)
	}
	slices.SortFunc(facts, func(a, b bus.TurnFact) int { return a.Time.Compare(b.Time) })
	return facts
}

func (e *ends) close() { e.nc.Close() }

// watched is the memory of a process over a time, in MB.
type watched struct {
	rss []float64
	err error
}

// watchMemory reads a process's RSS twice a second until ctx ends.
func watchMemory(ctx context.Context, pid int) <-chan watched {
	out := make(chan watched, 1)
	go func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		var w watched
		for {
			n, err := rss(pid)
			w.rss, w.err = append(w.rss, float64(n)/mb), errors.Join(w.err, err)
			select {
			case <-tick.C:
			case <-ctx.Done():
				out <- w
				return
			}
		}
	}()
	return out
}
