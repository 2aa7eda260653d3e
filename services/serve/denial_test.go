// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// quiet keeps refusals off the test's output.
var quiet = nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})

// What the bus refuses is an event that says who and what, and a counter; a flood is
// a few events with the exact number.
func TestBusDenialsAreEventsAndCounters(t *testing.T) {
	const flood = 10_000
	dir := t.TempDir() + "/data"
	info, stop := running(t, dir, nil)
	device, err := embedded.LoadDevice(dir)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := stranger.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, opt := range []nats.Option{nats.Name("without a key"), nats.Nkey(public, stranger.Sign), nats.Nkey(public, stranger.Sign)} {
		if nc, err := nats.Connect(info.Bus, opt); err == nil {
			nc.Close()
			t.Error("admitted")
		}
	}
	op, err := nats.Connect(info.Bus, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	for range flood {
		if err := op.Publish(bus.BudgetExhausted.Spec().Subject(), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if err := op.Flush(); err != nil {
		t.Fatal(err)
	}
	metrics := scrape(t, info)
	for _, want := range []string{`blufio_bus_refused_total{reason="key"} 3`, fmt.Sprintf(`blufio_bus_refused_total{reason="permission"} %d`, flood)} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("metrics without %s", want)
		}
	}
	stop() // what is not told yet is told then
	facts := denialsIn(t, dir)
	sums := map[string]int64{}
	for _, f := range facts {
		sums[strings.Join([]string{f.Where, f.Reason, f.Who, f.Subject}, " ")] += f.Count
	}
	want := map[string]int64{"bus no_key  ": 1, "bus bad_key " + public + " ": 2, "bus permission device " + bus.BudgetExhausted.Spec().Subject(): flood}
	if fmt.Sprint(sums) != fmt.Sprint(want) || len(facts) > 8 {
		t.Errorf("%d events: %v, want %v", len(facts), sums, want)
	}
}

// denialsIn are those in the event log of a daemon that has ended.
func denialsIn(t *testing.T, dir string) (facts []bus.DeniedFact) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: databasePath(dir), ReadOnly: true, Readers: 1, Logger: bustest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, row := range roomtest.Events(t, eventlog.New(store)) {
		var f bus.DeniedFact
		if row.Subject != bus.AccessDenied.Spec().Subject() {
			continue
		}
		if err := json.Unmarshal(row.Payload, &f); err != nil {
			t.Fatal(err)
		}
		facts = append(facts, f)
	}
	return facts
}

// running runs a daemon in dir; it ends with stop, or with the test.
func running(t *testing.T, dir string, change func(*Options)) (info Info, stop func()) {
	t.Helper()
	o := Options{Config: Defaults(), DataDir: dir, Version: "test", Logger: bustest.Logger(t)}
	o.Config.Gateway.Listen, o.Config.Bus.Listen, o.Config.Memory.LimitMB = "127.0.0.1:0", "127.0.0.1:0", 2000
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan Info, 1), make(chan error, 1)
	o.Ready = func(i Info) { ready <- i }
	go func() { ended <- Run(ctx, o) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the daemon ended with %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case info = <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("the daemon is not ready after 20 s")
	}
	return info, stop
}

// scrape reads the metrics of a daemon on this machine.
func scrape(t *testing.T, info Info) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, info.Gateway+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	return string(data)
}
