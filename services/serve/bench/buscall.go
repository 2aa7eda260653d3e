// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/nats-io/nats.go"
)

// busCall compares a call through the bus with a plain nats.go request between
// two connections to the same in-process server, in turns.
func (r *run) busCall() error {
	if r.box.pinned {
		return nil // it runs in this process, which is not pinned
	}
	dir, err := r.dir("bus")
	if err != nil {
		return err
	}
	device, err := embedded.LoadOrCreateDevice(dir)
	if err != nil {
		return err
	}
	server, err := embedded.Start(r.ctx, embedded.Config{Listen: "127.0.0.1:0", Dir: filepath.Join(dir, "events"), Device: device})
	if err != nil {
		return err
	}
	calls, plain, err := comparePairs(r.ctx, server)
	if err := errors.Join(err, server.Shutdown(r.ctx)); err != nil {
		return err
	}
	ratios := make([]float64, len(calls))
	for i := range calls {
		ratios[i] = calls[i] / plain[i]
	}
	r.report.add(r.box, "in-process call through bus", "µs", "see the ratio", 0, calls, median)
	r.report.add(r.box, "plain nats.go in-process request with the same JSON", "µs", "yardstick", 0, plain, median)
	r.report.add(r.box, "the one ÷ the other", "×", "≤ 1.3", 1.3, ratios, median)
	return nil
}

// comparePairs times blocks of calls, one kind after the other, and returns the
// mean of each block in microseconds.
func comparePairs(ctx context.Context, server *embedded.Server) (calls, plain []float64, err error) {
	log := slog.New(slog.DiscardHandler)
	room, err := server.ConnectHouse("cost")
	if err != nil {
		return nil, nil, err
	}
	answering := bus.NewConn(room, bus.Options{Name: "cost", Logger: log})
	if err := answering.Handle(ctx, bus.CostGet.Answer(func(context.Context, bus.CostQuery) (bus.CostSummary, error) { return summary, nil })); err != nil {
		return nil, nil, err
	}
	raw, err := server.ConnectHouse("raw")
	if err != nil {
		return nil, nil, err
	}
	_, err = raw.Subscribe("raw.request", func(m *nats.Msg) {
		var q bus.CostQuery
		_ = json.Unmarshal(m.Data, &q) // the same work as a call, without its care
		data, _ := json.Marshal(summary)
		_ = m.Respond(data)
	})
	if err != nil {
		return nil, nil, err
	}
	nc, err := server.ConnectHouse("asker")
	if err != nil {
		return nil, nil, err
	}
	asker := bus.NewConn(nc, bus.Options{Name: "asker", Says: []bus.Lane{bus.CostGet}, Logger: log})
	const blocks, size = 41, 2000
	for i := range blocks {
		c, err := block(size, func() error { _, err := bus.CostGet.Ask(ctx, asker, bus.CostQuery{}); return err })
		if err != nil {
			return nil, nil, err
		}
		p, err := block(size, func() error { return rawRequest(ctx, nc) })
		if err != nil {
			return nil, nil, err
		}
		if i > 0 { // the first warms up
			calls, plain = append(calls, c), append(plain, p)
		}
	}
	return calls, plain, nil
}

var summary = bus.CostSummary{Today: 31200, Month: 412000, DailyLimit: 5_000_000, MonthlyLimit: 50_000_000}

func rawRequest(ctx context.Context, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	data, err := json.Marshal(bus.CostQuery{})
	if err != nil {
		return err
	}
	m, err := nc.RequestWithContext(ctx, "raw.request", data)
	if err != nil {
		return err
	}
	var s bus.CostSummary
	return json.Unmarshal(m.Data, &s)
}

func block(n int, call func() error) (microseconds float64, err error) {
	start := time.Now()
	for range n {
		if err := call(); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(start).Microseconds()) / float64(n), nil
}
