// SPDX-License-Identifier: MIT OR Apache-2.0

package services_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/config"
)

const secret = `sk-test-"quoted"-0123456789`

// leaky is a room that lets a secret out wherever a room can, but for what people say
// to each other: a panic and an error of a handler, answers, an event, a failed life,
// its problems and its channel's last error.
func leaky() *room {
	last := "POST /bot" + secret
	handlers := []bus.Handler{
		bus.CostGet.Answer(func(context.Context, bus.CostQuery) (bus.CostSummary, error) { panic("at " + secret) }),
		bus.MemoryRead.Answer(func(context.Context, bus.MemoryQuery) (bus.Memory, error) { return bus.Memory{}, errors.New(secret) }),
		bus.StatusGet.Answer(func(context.Context, bus.StatusQuery) (bus.Status, error) {
			return bus.Status{Node: secret, PID: 7}, nil
		}),
		bus.AgentHistory.Answer(func(context.Context, bus.HistoryQuery) (bus.History, error) {
			return bus.History{}, bus.Errorf(bus.CodeInvalid, "no %s", secret).WithHint("not %s", secret)
		}),
		bus.MessageGet.Answer(func(context.Context, bus.MessageQuery) (bus.MessageRecord, error) {
			return bus.MessageRecord{Text: secret}, nil
		}),
		bus.Pulse.On(func(context.Context, bus.Health) { panic(fmt.Errorf("oh: %s", secret)) }),
	}
	r := failing("leaky", func(_ context.Context, _ *bus.Conn, ready func()) error { ready(); return errors.New("lost " + secret) },
		func(ctx context.Context, c *bus.Conn, ready func()) error {
			ready()
			if err := bus.Pulse.Publish(c, bus.Health{State: secret}); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
	r.door.Hears, r.door.Says = handlers, []bus.Lane{bus.Pulse}
	r.door.Health = func() []bus.Problem { return []bus.Problem{{Code: "x", Title: "a " + secret, Hint: "b " + secret}} }
	r.door.Channel = func() bus.Channel { return bus.Channel{State: bus.Degraded, LastError: &last} }
	return r
}

// letOut lets the room out everything and returns what came, as text.
func letOut(t *testing.T, redact bus.Redactor, log *slog.Logger) string {
	t.Helper()
	b := bustest.New(t)
	w := b.Watch(t)
	h := open(t, b, func(c *services.Config) { c.Redactor, c.Logger = redact, log }, leaky())
	wait(t, h.ready)
	c := b.Connect(t, "cli", bus.CostGet, bus.MemoryRead, bus.StatusGet, bus.AgentHistory, bus.MessageGet)
	pulse := bustest.Wait[bus.Health](t, w, bus.Pulse, 1, nil)
	status, err := bus.StatusGet.Ask(t.Context(), c, bus.StatusQuery{})
	if err != nil || status.PID != 7 {
		t.Fatalf("%+v, %v", status, err)
	}
	_, panicked := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{})
	_, failed := bus.MemoryRead.Ask(t.Context(), c, bus.MemoryQuery{})
	_, refused := bus.AgentHistory.Ask(t.Context(), c, bus.HistoryQuery{})
	var coded *bus.Error
	if panicked == nil || failed == nil || !errors.As(refused, &coded) || coded.Code != bus.CodeInvalid {
		t.Fatalf("%v, %v, %v", panicked, failed, refused)
	}
	record, err := bus.MessageGet.Ask(t.Context(), c, bus.MessageQuery{})
	if err != nil || record.Text != secret {
		t.Errorf("what people say passes as it is: %q, %v", record.Text, err)
	}
	report, err := json.Marshal(h.Report())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintln(pulse.State, status.Node, panicked, failed, coded.Message, coded.Hint, string(report))
}

func TestRoomsLetNoSecretOut(t *testing.T) {
	redactor := &config.Redactor{}
	if err := redactor.Add(config.NewSecret(secret)); err != nil {
		t.Fatal(err)
	}
	shows := func(text string) bool {
		return strings.Contains(text, secret) || strings.Contains(text, strings.ReplaceAll(secret, `"`, `\"`))
	}
	var clean, dirty bustest.Text
	out := letOut(t, redactor, redactor.Logger(slog.New(slog.NewJSONHandler(&clean, nil))))
	if shows(out) || strings.Count(out, "[redacted]") != 7 {
		t.Errorf("said: %s", out)
	}
	for _, want := range []string{"at [redacted]", `"err":"[redacted]"`, "oh: [redacted]", "lost [redacted]"} {
		bustest.Eventually(t, "logged: "+want, func() bool { return strings.Contains(clean.String(), want) })
	}
	if shows(clean.String()) {
		t.Errorf("logged: %s", &clean)
	}
	// The same without a redactor lets everything out: else this would prove nothing.
	out = letOut(t, nil, slog.New(slog.NewJSONHandler(&dirty, nil)))
	if strings.Contains(out, "[redacted]") || strings.Count(out, secret)+strings.Count(out, strings.ReplaceAll(secret, `"`, `\"`)) != 7 || !shows(dirty.String()) {
		t.Errorf("without a redactor: %s", out)
	}
}
