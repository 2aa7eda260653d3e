// SPDX-License-Identifier: MIT OR Apache-2.0

package services_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
)

// A room that fails is started again on a new connection, and its handlers
// answer again.
func TestRestart(t *testing.T) {
	tests := map[string]struct {
		fail func(c *bus.Conn) error
		want string
	}{
		"error":           {func(*bus.Conn) error { return errBroken }, "broken"},
		"panic":           {func(*bus.Conn) error { panic("oh") }, "panic: oh"},
		"nil":             {func(*bus.Conn) error { return nil }, "returned without being asked to"},
		"connection lost": {nil, "bus connection lost"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := bustest.New(t)
			var conns []*bus.Conn
			again, fail := make(chan struct{}), make(chan struct{})
			cost := &room{door: services.Door{Name: "cost", Hears: []bus.Handler{
				bus.CostGet.Answer(func(context.Context, bus.CostQuery) (bus.CostSummary, error) { return bus.CostSummary{Today: 7}, nil })}}}
			cost.run = func(ctx context.Context, c *bus.Conn, ready func()) error {
				conns = append(conns, c)
				ready()
				if len(conns) > 1 {
					close(again)
					<-ctx.Done()
					return nil
				}
				<-fail
				if tt.fail == nil {
					c.NATS().Close()
					<-ctx.Done()
					return ctx.Err()
				}
				return tt.fail(c)
			}
			h := open(t, b, func(c *services.Config) { c.Backoff.First = 50 * time.Millisecond; c.Backoff.Most = time.Second }, cost, calm("other"))
			wait(t, h.ready)
			if st := h.status("cost"); st.State != bus.Healthy || st.Restarts != 0 {
				t.Errorf("before: %+v", st)
			}
			close(fail)
			bustest.Eventually(t, "the room is restarting", func() bool { return h.status("cost").State == bus.Degraded })
			st := h.status("cost")
			if st.Restarts != 1 || len(st.Problems) != 1 || !services.NotRunning(st.Problems[0]) ||
				st.Problems[0].Code != "room_restarting" || st.Problems[0].Title != "the room is restarting: "+tt.want {
				t.Errorf("while restarting: %+v", st)
			}
			wait(t, again)
			got, err := bus.CostGet.Ask(t.Context(), b.Connect(t, "control", bus.CostGet), bus.CostQuery{})
			if err != nil || got.Today != 7 {
				t.Errorf("after the restart: %+v, %v", got, err)
			}
			if st := h.status("cost"); st.State != bus.Healthy || st.Restarts != 1 || len(st.Problems) != 0 {
				t.Errorf("after: %+v", st)
			}
			if err := h.end(t); err != nil {
				t.Errorf("Run: %v", err)
			}
			if st := h.status("cost"); st.State != bus.Stopped {
				t.Errorf("at the end: %+v", st)
			}
			if len(conns) != 2 || conns[0] == conns[1] || conns[0].NATS() == conns[1].NATS() || !conns[0].NATS().IsClosed() {
				t.Errorf("%d lives, the first connection is not renewed", len(conns))
			}
		})
	}
}

// A restart that cannot connect counts as a failure and is tried again.
func TestRestartNeedsAConnection(t *testing.T) {
	b := bustest.New(t)
	back := make(chan struct{})
	calls := 0
	h := open(t, b, func(c *services.Config) {
		connect := c.Connect
		c.Connect = func(name string) (nc *nats.Conn, err error) {
			if calls++; calls == 2 {
				return nil, errBroken
			}
			return connect(name)
		}
	}, failing("cost", breaks, func(ctx context.Context, c *bus.Conn, ready func()) error {
		close(back)
		return untilAsked(ctx, c, ready)
	}))
	wait(t, back)
	if st := h.status("cost"); st.Restarts != 2 {
		t.Errorf("%+v", st)
	}
}

// After Limit failures within Window the house ends with the reason.
func TestHouseEndsAfterRepeatedFailure(t *testing.T) {
	lives := 0
	h := open(t, bustest.New(t), func(c *services.Config) { c.Backoff.Limit = 3 }, calm("one"),
		failing("bad", func(ctx context.Context, c *bus.Conn, ready func()) error { lives++; return breaks(ctx, c, ready) }))
	wait(t, h.ended)
	if !errors.Is(h.err, errBroken) || !strings.HasPrefix(h.err.Error(), "bad: ") || lives != 3 {
		t.Errorf("Run after %d lives: %v", lives, h.err)
	}
	st := h.status("bad")
	if st.State != bus.Degraded || len(st.Problems) != 1 || st.Problems[0].Code != "room_failed" || !strings.HasSuffix(st.Problems[0].Title, ": broken") {
		t.Errorf("report: %+v", st)
	}
}

func TestPanicInAHandlerDoesNotRestartTheRoom(t *testing.T) {
	b := bustest.New(t)
	calls := 0
	h := open(t, b, nil, calm("cost", bus.CostGet.Answer(func(context.Context, bus.CostQuery) (bus.CostSummary, error) {
		if calls++; calls == 1 {
			panic("oh")
		}
		return bus.CostSummary{Today: 7}, nil
	}).Workers(1)))
	wait(t, h.ready)
	c := b.Connect(t, "control", bus.CostGet)
	if _, err := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{}); bus.CodeOf(err) != bus.CodeInternal {
		t.Errorf("first answer: %v", err)
	}
	if got, err := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{}); err != nil || got.Today != 7 {
		t.Errorf("second answer: %+v, %v", got, err)
	}
	if st := h.status("cost"); st.State != bus.Healthy || st.Restarts != 0 {
		t.Errorf("%+v", st)
	}
	if err := h.end(t); err != nil { // a handler is counted after its answer, and before the drain is over
		t.Error(err)
	}
	const handled = `# HELP blufio_bus_handled_total Calls answered and events heard, by lane and result: ok, refused (the asker's fault) or failed.
# TYPE blufio_bus_handled_total counter
blufio_bus_handled_total{lane="cost.get",result="failed"} 1
blufio_bus_handled_total{lane="cost.get",result="ok"} 1
blufio_bus_handled_total{lane="cost.get",result="refused"} 0
`
	if err := testutil.GatherAndCompare(h.registry, strings.NewReader(handled), "blufio_bus_handled_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(h.registry, "blufio_bus_handle_seconds"); err != nil || n != 1 {
		t.Errorf("%d histograms, %v", n, err)
	}
}

// What the bus refuses is counted by room and reason.
func TestTroubleIsCounted(t *testing.T) {
	b := bustest.New(t)
	refused := calm("cost")
	refused.run = func(ctx context.Context, c *bus.Conn, ready func()) error {
		if err := c.NATS().Publish(bus.Prefix+"evt.not.yours", nil); err != nil {
			return err
		}
		return untilAsked(ctx, c, ready)
	}
	h := open(t, b, func(c *services.Config) { // a room may say anything, the bus only refuses others
		c.Connect = func(string) (*nats.Conn, error) {
			return nats.Connect(b.Server().URL(), b.Device().NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox))
		}
	}, refused)
	bustest.Eventually(t, "a denial is counted", func() bool {
		return strings.Contains(page(t, h.registry), `blufio_bus_trouble_total{reason="denied",service="cost"} 1`)
	})
	const trouble = `# HELP blufio_bus_trouble_total Messages dropped or refused by the bus, by room and reason; those that one listener drops in a row count once.
# TYPE blufio_bus_trouble_total counter
blufio_bus_trouble_total{reason="async_error",service="cost"} 0
blufio_bus_trouble_total{reason="denied",service="cost"} 1
blufio_bus_trouble_total{reason="slow_consumer",service="cost"} 0
`
	if err := testutil.GatherAndCompare(h.registry, strings.NewReader(trouble), "blufio_bus_trouble_total"); err != nil {
		t.Error(err)
	}
}

// page is a registry as a scraper sees it.
func page(t *testing.T, r *prometheus.Registry) string {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, f := range all {
		if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// Every series of a room is there before anything has happened; what goes wrong is
// counted by its kind, and what waits by its lane.
func TestErrorsAndQueuesAreCounted(t *testing.T) {
	b := bustest.New(t)
	release, begun := make(chan struct{}), make(chan struct{}, 8)
	r := calm("cost", bus.CostGet.Answer(func(context.Context, bus.CostQuery) (bus.CostSummary, error) {
		begun <- struct{}{}
		<-release
		return bus.CostSummary{}, bus.Errorf(bus.CodeInvalid, "no")
	}).Workers(1).Queue(1))
	r.door.Failures = map[string]func() float64{"ledger": func() float64 { return 7 }}
	h := open(t, b, nil, r)
	wait(t, h.ready)
	want := func(lines ...string) {
		t.Helper()
		bustest.Eventually(t, strings.Join(lines, "\n"), func() bool {
			p := page(t, h.registry)
			for _, l := range lines {
				if !strings.Contains(p, l+"\n") {
					return false
				}
			}
			return true
		})
	}
	want(`blufio_errors_total{kind="busy",service="cost"} 0`, `blufio_errors_total{kind="internal",service="cost"} 0`, `blufio_errors_total{kind="restart",service="cost"} 0`,
		`blufio_errors_total{kind="timeout",service="cost"} 0`, `blufio_errors_total{kind="unavailable",service="cost"} 0`, `blufio_errors_total{kind="ledger",service="cost"} 7`,
		`blufio_bus_waiting{lane="cost.get",service="cost"} 0`, `blufio_bus_waiting_limit{lane="cost.get",service="cost"} 2`)
	c := b.Connect(t, "control", bus.CostGet)
	answers := make(chan error, 2)
	for range 2 {
		go func() { _, err := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{}); answers <- err }()
	}
	want(`blufio_bus_waiting{lane="cost.get",service="cost"} 2`)
	if _, err := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{}); bus.CodeOf(err) != bus.CodeBusy {
		t.Errorf("the third gets %v", err)
	}
	close(release)
	for range 2 {
		if err := wait(t, answers); bus.CodeOf(err) != bus.CodeInvalid {
			t.Error(err)
		}
	}
	want(`blufio_errors_total{kind="busy",service="cost"} 1`, `blufio_bus_handled_total{lane="cost.get",result="refused"} 2`,
		`blufio_bus_handled_total{lane="cost.get",result="failed"} 1`, `blufio_bus_waiting{lane="cost.get",service="cost"} 0`)
}

func TestRestartsAreErrors(t *testing.T) {
	h := open(t, bustest.New(t), nil, failing("cost", breaks, untilAsked))
	bustest.Eventually(t, "it is counted", func() bool {
		return strings.Contains(page(t, h.registry), `blufio_errors_total{kind="restart",service="cost"} 1`)
	})
}
