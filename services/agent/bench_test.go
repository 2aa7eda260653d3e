// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// BenchmarkTurn answers messages of 50 sessions with a model that takes no time,
// from msg.receive until the channel has the reply.
func BenchmarkTurn(b *testing.B) {
	for _, model := range []string{"home", "dear"} {
		b.Run(model, func(b *testing.B) {
			r := newRig(b, echo)
			r.model.name, r.costs.DailyUSD, r.costs.MonthlyUSD = model, 0, 0
			r.cfg.MaxReplyTokens = 1
			r.log = slog.New(slog.DiscardHandler)
			r.start()
			r.agent.Unhurried()
			const sessions = 50
			tokens := make(chan string, sessions)
			for n := range sessions {
				tokens <- fmt.Sprint("s", n)
			}
			r.gateway.refuse(func(m bus.Reply) error { tokens <- m.Session; return nil })
			began, cpu := time.Now(), cpuTime(b)
			b.ResetTimer()
			done := make(chan error, sessions)
			for range b.N {
				s := <-tokens
				go func() { // ends with its answer, which the loop's end waits for
					_, err := bus.MessageReceive.Ask(context.Background(), r.ask, message(s, "hello"))
					if err != nil {
						done <- err
					}
				}()
			}
			for range sessions {
				select {
				case <-tokens:
				case err := <-done:
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "turns/s")
			b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/turn")
			b.ReportMetric(float64(r.store.Stats().Commits)/float64(b.N), "commits/turn")
		})
	}
}

// cpuTime is what the process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
