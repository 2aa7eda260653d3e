// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/nats-io/nats.go"
)

// talk holds turns, one after the other, and returns how long each took to its reply.
type talk struct {
	g       *guarded
	replies chan string
	text    string
	n       int
}

func (g *guarded) talk(t *testing.T, size int) *talk {
	t.Helper()
	k := &talk{g: g, replies: make(chan string, 16), text: strings.Repeat("blufio ", size/7)}
	err := g.op.Handle(t.Context(), bus.TerminalReply.On(func(_ context.Context, r bus.Reply) { k.replies <- r.MessageID }))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *talk) turn(t *testing.T) time.Duration {
	t.Helper()
	k.n++
	owner := fmt.Sprintf("owner-%d", k.n/5) // no conversation becomes long: it is not what is measured
	start := time.Now()
	acc, err := bus.MessageReceive.Ask(t.Context(), k.g.op, bus.Message{Channel: "terminal", Owner: owner, Text: k.text})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case id := <-k.replies:
		if id != acc.ID {
			t.Fatalf("the reply is to %s, and the message was %s", id, acc.ID)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no reply within 30 s")
	}
	return time.Since(start)
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// follower is a listener that keeps up, and notices when it misses a fact.
type follower struct {
	last, missed atomic.Uint64
}

func (g *guarded) follow(t *testing.T) *follower {
	t.Helper()
	c := g.key(t, bus.KeyRequest{Name: "healthy", Role: bus.RoleObserver}).on(t, g)
	f := &follower{}
	_, err := c.nc.Subscribe(bus.Facts, func(m *nats.Msg) {
		seq, _ := strconv.ParseUint(m.Header.Get(bus.HeaderSeq), 10, 64)
		if last := f.last.Swap(seq); last > 0 && seq != last+1 {
			f.missed.Add(1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	flush(t, c.nc)
	return f
}

// stall connects with the caller's key, asks for what the lines say and reads no more.
func (c *caller) stall(t *testing.T, g *guarded, lines string) {
	t.Helper()
	w := dialRude(t, g.info.Bus)
	if tcp, ok := w.Conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4096) // at best it is stalled sooner
	}
	w.send(t, c.public, c.pair, lines+"PING\r\n")
	for line := ""; line != "PONG\r\n"; {
		var err error
		if line, err = w.in.ReadString('\n'); err != nil || strings.HasPrefix(line, "-ERR") {
			t.Fatalf("%s: %s%v", c.name, line, err)
		}
	}
}

// A listener that does not read, one that asks for everything 255 times and one that
// pulls without end and acknowledges nothing: each is cut off, which the owner sees. The
// agent goes on, another listener misses nothing, and the memory stays where it was.
func TestSlowListenersAreCutOff(t *testing.T) {
	const most, size = 1000, 32 << 10
	least := 200
	if raceEnabled {
		least = 40 // as many as it takes to be cut off
	}
	g := guard(t, t.TempDir()+"/data", func(c *Config) { c.Bus.EventsText = true })
	healthy, talk := g.follow(t), g.talk(t, size)
	var alone, beside []time.Duration
	for range least / 2 {
		alone = append(alone, talk.turn(t))
	}
	before := heapOf()
	pulling := g.key(t, bus.KeyRequest{Name: "dashboard", Role: bus.RoleObserver}).on(t, g)
	consumer := pulling.consumer(t)
	deaf, many := g.key(t, bus.KeyRequest{Name: "deaf", Role: bus.RoleObserver}), g.key(t, bus.KeyRequest{Name: "many", Role: bus.RoleObserver})
	var subs strings.Builder
	for n := range 255 {
		fmt.Fprintf(&subs, "SUB blufio.v1.evt.> %d\r\n", n)
	}
	const pull = `{"batch":100000,"expires":600000000000}`
	deaf.stall(t, g, "SUB blufio.v1.evt.> 1\r\n")
	many.stall(t, g, subs.String())
	pulling.stall(t, g, fmt.Sprintf("SUB %s.pull.* 1\r\nPUB $JS.API.CONSUMER.MSG.NEXT.EVENTS.%s %s.pull.1 %d\r\n%s\r\n", pulling.inbox, consumer, pulling.inbox, len(pull), pull))
	highest := before
	for len(beside) < most && (len(beside) < least || g.server.Stats().SlowConsumers < 3) {
		beside = append(beside, talk.turn(t))
		if len(beside)%20 == 0 {
			highest = max(highest, heapOf())
		}
	}
	if got := g.server.Stats().SlowConsumers; got != 3 {
		t.Errorf("after %d turns %d listeners were cut off, want 3", len(beside), got)
	}
	bustest.Eventually(t, "they are gone", func() bool {
		return !slices.ContainsFunc(g.listenedOn(t), func(l embedded.Listener) bool { return l.Client == rudeName })
	})
	if grown := highest - before; grown > 48<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	if metrics := scrape(t, g.info); !strings.Contains(metrics, "blufio_bus_slow_consumers_total 3\n") {
		t.Error("the metrics do not count them")
	}
	t.Logf("a turn takes %s alone and %s beside stalled listeners: × %.2f; the heap was %d MiB and at most %d MiB", median(alone), median(beside),
		float64(median(beside))/float64(median(alone)), before>>20, highest>>20)
	g.stop()
	cut := map[string]int64{}
	for _, f := range denialsIn(t, g.dir) {
		if f.Reason == "slow" {
			cut[f.Who] += f.Count
		}
	}
	if want := map[string]int64{"deaf": 1, "many": 1, "dashboard": 1}; fmt.Sprint(cut) != fmt.Sprint(want) {
		t.Errorf("events tell of %v, want %v", cut, want)
	}
	if n := healthy.missed.Load(); n != 0 || healthy.last.Load() < uint64(4*least) {
		t.Errorf("the healthy listener missed something %d times, up to fact %d", n, healthy.last.Load())
	}
}

// heap is what is in use once the garbage is gone.
func heapOf() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
