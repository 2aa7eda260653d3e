// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestListenAddress(t *testing.T) {
	for listen, ok := range map[string]bool{
		"127.0.0.1:0": true, "localhost:0": true, "127.0.0.1:4222": true, "[::1]:4222": true, "127.8.8.8:1": true,
		"0.0.0.0:4222": false, ":4222": false, "[::]:4222": false, "192.168.1.2:4222": false, "example.com:4222": false,
		"127.0.0.1": false, "": false, "127.0.0.1:x": false, "127.0.0.1:-1": false, "127.0.0.1:65536": false,
	} {
		if _, _, err := loopback(listen); (err == nil) != ok {
			t.Errorf("%q: %v", listen, err)
		}
	}
	_, err := Start(t.Context(), Config{Listen: "0.0.0.0:0", Device: device(t)})
	if err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("err = %v", err)
	}
}

func TestStartNeedsADevice(t *testing.T) {
	if _, err := Start(t.Context(), Config{Listen: "127.0.0.1:0"}); err == nil {
		t.Error("started without a key")
	}
}

func TestPortInUse(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, err = Start(t.Context(), Config{Listen: other.Addr().String(), Device: device(t)})
	if !errors.Is(err, ErrPortInUse) || !strings.Contains(err.Error(), other.Addr().String()) {
		t.Errorf("err = %v", err)
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Config{Listen: "127.0.0.1:0", Device: device(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestMessageLimits(t *testing.T) {
	s := start(t, nil)
	if max := house(t, s, "agent").MaxPayload(); max != maxPayload {
		t.Errorf("announced: %d bytes", max)
	}
	// A line without end is cut off, before anyone has shown a key.
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("CONNECT {" + strings.Repeat(" ", maxControlLine+1))); err != nil {
		t.Fatal(err)
	}
	var heard bytes.Buffer
	_, _ = heard.ReadFrom(conn) // ends when the server hangs up
	if !strings.Contains(heard.String(), "-ERR 'maximum control line exceeded'") {
		t.Errorf("heard %q", heard.String())
	}
}

func TestConnectionLimit(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxConns = 2 })
	house(t, s, "agent")
	operator(t, s)
	nc, err := nats.Connect(s.URL(), s.cfg.Device.NATSOption())
	if err == nil {
		nc.Close()
		t.Fatal("a third connection was admitted")
	}
	st := s.Stats()
	if st.Connections != 2 || st.LimitErrors != 1 {
		t.Errorf("stats = %+v", st)
	}
}

// A client that does not read is cut off, and holds up nobody.
func TestSlowConsumerIsCutOff(t *testing.T) {
	s := start(t, nil)
	r, stall := hearRefusals(s), &stallingDialer{}
	lost := make(chan struct{}, 1)
	slow := keep(t)(nats.Connect(s.URL(), s.cfg.Device.NATSOption(), nats.CustomInboxPrefix(OperatorInbox), quiet(),
		nats.SetCustomDialer(stall), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { lost <- struct{}{} })))
	listen(t, slow, "blufio.v1.evt.>")
	stall.stop()
	room := house(t, s, "agent")
	data := make([]byte, 64<<10)
	for sent := 0; s.ns.NumSlowConsumers() == 0; sent += len(data) {
		// 1 MiB in the server, and what the kernel takes off its hands.
		if sent > 24<<20 {
			t.Fatal("24 MiB wait for a client that does not read")
		}
		if err := room.Publish(tick, data); err != nil {
			t.Fatal(err)
		}
		flush(t, room)
	}
	stall.resume()
	<-lost
	if got := s.Stats().SlowConsumers; got != 1 {
		t.Errorf("SlowConsumers = %d", got)
	}
	r.want(t, 1, Denial{Reason: DeniedSlow, Key: s.cfg.Device.PublicKey()})
}

func TestStatsCountMessages(t *testing.T) {
	s := start(t, nil)
	room := house(t, s, "agent")
	sub := listen(t, room, tick)
	before := s.Stats()
	for range 10 {
		if err := room.Publish(tick, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		next(t, sub)
	}
	eventually(t, "ten messages in and out", func() bool { // the server adds up after a batch
		after := s.Stats()
		return after.InMsgs-before.InMsgs >= 10 && after.OutMsgs-before.OutMsgs >= 10
	})
}

func TestShutdownLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		s, err := Start(ctx, Config{Listen: "127.0.0.1:0", Dir: t.TempDir(), Device: device(t)})
		if err != nil {
			t.Fatal(err)
		}
		e, err := s.OpenEvents(ctx)
		if err != nil {
			t.Fatal(err)
		}
		mustPublish(t, e, Event{Subject: tick, ID: "a"})
		if err := e.Recreate(ctx); err != nil {
			t.Fatal(err)
		}
		room, err := s.ConnectHouse("agent")
		if err != nil {
			t.Fatal(err)
		}
		room.Close()
		for range 2 { // a second call is harmless
			if err := s.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.ConnectHouse("late"); err == nil {
			t.Error("connected after shutdown")
		}
		cancel()
	}
	eventually(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= before })
}

func TestServerLogIsQuietAndBounded(t *testing.T) {
	var out syncBuffer
	s := start(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&out, nil)) })
	op := operator(t, s)
	for range 1000 {
		if err := op.Publish("blufio.v1.evt.forged", nil); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, op)
	if got := s.Stats().Denials; got != 1000 {
		t.Errorf("Denials = %d", got)
	}
	text := out.String()
	if n := strings.Count(text, "\n"); n == 0 || n > 20 {
		t.Errorf("%d lines for 1000 refusals", n)
	}
	if !strings.Contains(text, "level=WARN") || !strings.Contains(text, "blufio.v1.evt.forged") {
		t.Errorf("log: %s", text)
	}
}
