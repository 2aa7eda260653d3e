// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/nats-io/nats.go"
)

// daemon runs a whole daemon in this process and returns the operator's
// connection to it.
func daemon(t *testing.T, change func(*Config)) *bus.Conn {
	t.Helper()
	c, _ := daemonOf(t, func(o *Options) { change(&o.Config) })
	return c
}

// daemonOf is daemon with other options, and tells where it is.
func daemonOf(t *testing.T, change func(*Options)) (*bus.Conn, Info) {
	t.Helper()
	dir := t.TempDir() + "/data"
	o := Options{Config: Defaults(), DataDir: dir, Version: "test", Logger: bustest.Logger(t)}
	o.Config.Gateway.Listen, o.Config.Bus.Listen, o.Config.Memory.LimitMB = "127.0.0.1:0", "127.0.0.1:0", 2000
	change(&o)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan Info, 1), make(chan error, 1)
	o.Ready = func(i Info) { ready <- i }
	go func() { ended <- Run(ctx, o) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the daemon ended with %v", err)
		}
	})
	var info Info
	select {
	case info = <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("the daemon is not ready after 20 s")
	}
	device, err := embedded.LoadDevice(o.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(info.Bus, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox))
	if err != nil {
		t.Fatal(err)
	}
	c := bus.NewConn(nc, bus.Options{Name: "cli", Logger: bustest.Logger(t),
		Says: []bus.Lane{bus.MessageReceive, bus.MessageGet, bus.CostGet, bus.StatusGet, bus.VaultSet, bus.VaultList, bus.VaultDelete, bus.VaultRotate,
			bus.KeyIssue, bus.KeyRevoke, bus.KeyRotateDevice,
			bus.BackupCreate, bus.BackupTake, bus.BackupFinish, bus.ConfigReload, bus.ReportGet, bus.CostReserve, bus.TokenIssue, bus.EventsRead, bus.DoctorRun, bus.JobGet,
			bus.RecallSearch, bus.RecallKeep, bus.RecallList, bus.RecallGet}})
	t.Cleanup(func() {
		drain, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		if err := c.Drain(drain); err != nil {
			t.Error(err)
		}
	})
	return c, info
}

// say sends a message and returns what became of it.
func say(t *testing.T, c *bus.Conn, text string) bus.MessageRecord {
	t.Helper()
	acc, err := bus.MessageReceive.Ask(t.Context(), c, bus.Message{Channel: "terminal", Owner: "owner", Text: text})
	if err != nil {
		t.Fatal(err)
	}
	var m bus.MessageRecord
	bustest.Eventually(t, "the message has an end", func() bool {
		if m, err = bus.MessageGet.Ask(t.Context(), c, bus.MessageQuery{ID: acc.ID}); err != nil {
			t.Fatal(err)
		}
		return m.State != bus.StateQueued && m.State != bus.StateRunning
	}, func() any { return m })
	return m
}

// A model on the real wire: its tools work, its tokens are booked to the
// micro-dollar, its failures reach the person in words.
func TestModelAnswersAndIsBooked(t *testing.T) {
	fake := fakellm.NewOpenAI(t)
	c := daemon(t, func(cfg *Config) {
		cfg.Agent.Provider = []string{"openai"}
		cfg.OpenAI.BaseURL = fake.URL()
		cfg.Agent.Model = "gpt-4o-mini"
	})
	fake.Script(fakellm.Uses(fakellm.Call{Name: "remember", Arguments: `{"text":"the boiler code is 4711"}`}), fakellm.Says("I ", "noted ", "it."),
		fakellm.Says("It is 4711."))
	if m := say(t, c, "keep the boiler code, 4711"); m.State != bus.StateAnswered || m.Reply != "I noted it." {
		t.Fatalf("got %+v", m)
	}
	if m := say(t, c, "what was it?"); m.State != bus.StateAnswered || m.Reply != "It is 4711." {
		t.Fatalf("got %+v", m)
	}
	// Three calls of 100 tokens in and 10 out, at $0.15 and $0.60 a million.
	want := bus.MicroUSD(3 * (15 + 6))
	booked(t, c, want)
	fake.Always(fakellm.Fails(401, "invalid_api_key", "Incorrect API key provided"))
	if m := say(t, c, "still there?"); m.State != bus.StateFailed || m.Error != bus.CodeDenied || !strings.Contains(m.Reply, "openai.api_key") {
		t.Errorf("got %+v", m)
	}
	if m := say(t, c, "/cost"); m.State != bus.StateAnswered || !strings.Contains(m.Reply, want.String()) {
		t.Errorf("got %+v", m)
	}
}

// booked waits until that much is booked, and nothing is reserved.
func booked(t *testing.T, c *bus.Conn, want bus.MicroUSD) {
	t.Helper()
	var sum bus.CostSummary
	bustest.Eventually(t, want.String()+" are booked and nothing is reserved", func() bool {
		var err error
		if sum, err = bus.CostGet.Ask(t.Context(), c, bus.CostQuery{}); err != nil {
			t.Fatal(err)
		}
		return sum.Today == want && sum.Reserved == 0
	}, func() any { return fmt.Sprintf("booked %s, reserved %s", sum.Today, sum.Reserved) })
}

// Anthropic's wire from end to end: a tool, and a ledger that is the vendor's own
// bill, its cache included.
func TestAnthropicAnswersAndIsBooked(t *testing.T) {
	fake := fakellm.NewAnthropic(t)
	fake.CacheFrom(1)
	c := daemon(t, func(cfg *Config) {
		cfg.Agent.Provider = []string{"anthropic"}
		cfg.Anthropic.BaseURL = fake.URL()
	})
	fake.Script(fakellm.Answer{Calls: []fakellm.Call{{Name: "remember", Arguments: `{"text":"the boiler code is 4711"}`}}},
		fakellm.Answer{Text: []string{"I ", "noted ", "it."}}, fakellm.Answer{Text: []string{"It is 4711."}})
	if m := say(t, c, "keep the boiler code, 4711"); m.State != bus.StateAnswered || m.Reply != "I noted it." {
		t.Fatalf("got %+v", m)
	}
	if m := say(t, c, "what was it?"); m.State != bus.StateAnswered || m.Reply != "It is 4711." {
		t.Fatalf("got %+v", m)
	}
	var want, read int64
	for _, b := range fake.Bills() {
		// claude-haiku-4-5 at $1, $5, $0.10 and $1.25 a million; each call rounded up.
		want += (100*b.Usage.Input + 500*b.Usage.Output + 10*b.Usage.CacheRead + 125*b.Usage.CacheWrite + 99) / 100
		read += b.Usage.CacheRead
	}
	if len(fake.Bills()) != 3 || read == 0 {
		t.Errorf("billed %+v", fake.Bills())
	}
	booked(t, c, bus.MicroUSD(want))
}

// A model without a price is not asked: what it would cost is not known.
func TestModelWithoutAPriceIsRefused(t *testing.T) {
	fake := fakellm.NewOpenAI(t)
	c := daemon(t, func(cfg *Config) {
		cfg.Agent.Provider = []string{"openai"}
		cfg.OpenAI.BaseURL = fake.URL()
		cfg.Agent.Model = "llama3.2"
	})
	m := say(t, c, "hello")
	if m.State != bus.StateFailed || m.Error != bus.CodePriceUnknown || !strings.Contains(m.Reply, `[cost.prices."llama3.2"]`) {
		t.Errorf("got %+v", m)
	}
	if n := len(fake.Requests()); n != 0 {
		t.Errorf("it was asked %d times", n)
	}
}
