// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// wire is the way to Telegram, which can be cut.
type wire struct {
	ln   net.Listener
	to   string
	work sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{ln: ln, to: strings.TrimPrefix(to, "http://"), conns: map[net.Conn]struct{}{}}
	w.work.Go(w.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		w.set(true)
		w.work.Wait()
	})
	return w
}

func (w *wire) url() string { return "http://" + w.ln.Addr().String() }

// set cuts the wire, with every connection on it, or mends it.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	if cut {
		for c := range w.conns {
			_ = c.Close()
		}
		clear(w.conns)
	}
}

func (w *wire) serve() {
	for {
		c, err := w.ln.Accept()
		if err != nil {
			return
		}
		w.work.Go(func() { w.carry(c) })
	}
}

// carry is one connection, until either side or the wire ends it.
func (w *wire) carry(c net.Conn) {
	defer c.Close()
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer far.Close()
	if !w.hold(c, far) {
		return
	}
	defer w.let(c, far)
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(far, c); _ = far.Close() })
	both.Go(func() { _, _ = io.Copy(c, far); _ = c.Close() })
	both.Wait()
}

func (w *wire) hold(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		w.conns[c] = struct{}{}
	}
	return !w.cut
}

func (w *wire) let(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		delete(w.conns, c)
	}
}

// TestTelegramAway: while Telegram cannot be reached, replies wait and people's
// messages wait there; afterwards everything is taken, answered and delivered, by
// itself.
func TestTelegramAway(t *testing.T) {
	t.Parallel()
	m, g := newModel(t), newMessenger(t)
	p := newPlan(t, m)
	w := newWire(t, g.bot.URL())
	p.add(t, strings.Replace(g.config(), g.bot.URL(), w.url(), 1))
	p.add(t, "\n[recall]\nmax_entries = 100000\n") // a third of the messages of ten minutes is remembered
	d := start(t, p, build(t, shipped))
	d.awaitHealthy(t)
	tr := talk(t, p) // the others notice nothing
	g.talk(t, p)
	read := func() (n int) {
		for s := speaker(speakers); s < everyone; s++ {
			n += len(g.bot.Chat(s.chat()))
		}
		return n
	}
	until(t, "people read answers", ackLimit, func() bool { return read() >= 10 })
	w.set(true)
	away := longer(2*time.Second, 10*time.Minute)
	time.Sleep(away) // the outage itself
	until(t, "people write during the outage", ackLimit, func() bool { return g.bot.Unconfirmed() > 0 })
	waiting, had := g.bot.Unconfirmed(), read()
	tr.await(t, 20)
	w.set(false)
	back := until(t, "people read answers again", ackLimit, func() bool { return read() > had })
	tr.finish(t)
	g.finish(t)
	g.caughtUp(t)
	found := &findings{speakers: everyone, settleLimit: settleLimit}
	judge(t, p, d, m, found, nil)
	found.kills = 1 // the cut may have fallen between Telegram's acceptance and the answer to it, as a kill may
	found.delivered(g)
	found.report(t)
	t.Logf("cut off for %s: %d messages waited at Telegram, %d answered in all, read again %s after the return, %d extra",
		away, waiting, found.answered, back.Round(time.Millisecond), found.twice)
}
