// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// rude is a connection that speaks the protocol by itself, so that it can be ruder than a
// client library.
type rude struct {
	net.Conn
	in    *bufio.Reader
	nonce string
}

// rudeName is what it calls itself.
const rudeName = "rude"

func dialRude(t *testing.T, url string) *rude {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(4 * patience)); err != nil {
		t.Fatal(err)
	}
	w := &rude{Conn: conn, in: bufio.NewReader(conn)}
	line, err := w.in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ Nonce string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil {
		t.Fatal(err)
	}
	w.nonce = info.Nonce
	return w
}

// send writes what the key would, with the lines after it.
func (w *rude) send(t *testing.T, public string, pair nkeys.KeyPair, lines string) {
	t.Helper()
	connect := map[string]any{"name": rudeName, "verbose": false, "headers": true, "no_responders": true, "protocol": 1}
	if pair != nil {
		sig, err := pair.Sign([]byte(w.nonce))
		if err != nil {
			t.Fatal(err)
		}
		connect["nkey"], connect["sig"] = public, base64.RawURLEncoding.EncodeToString(sig)
	}
	data, err := json.Marshal(connect)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(w, "CONNECT %s\r\n%s", data, lines); err != nil {
		t.Fatal(err)
	}
}

// Who has no key, or one that is unknown, forged, expired, revoked or not for the
// network, gets nowhere, not even when everything else follows at once. A restart
// changes nothing of that.
func TestWhoGetsOnTheDaemon(t *testing.T) {
	dir := t.TempDir() + "/data"
	g := guard(t, dir, nil)
	living := g.key(t, bus.KeyRequest{Name: "living", Role: bus.RoleObserver})
	revoked := g.key(t, bus.KeyRequest{Name: "revoked", Role: bus.RoleOperator})
	expiring := g.key(t, bus.KeyRequest{Name: "expiring", Role: bus.RoleOperator, Seconds: 3600})
	stranger, device := &caller{}, g.device(t)
	var err error
	if stranger.pair, err = nkeys.CreateUser(); err != nil {
		t.Fatal(err)
	}
	if stranger.public, err = stranger.pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	forger := &caller{public: device.public, pair: stranger.pair}
	g.getsOn(t, "living", living, true)
	g.getsOn(t, "not revoked yet", revoked, true)
	g.getsOn(t, "not expired yet", expiring, true)
	if _, err := bus.KeyRevoke.Ask(t.Context(), g.op, bus.KeyRevocation{Key: "revoked"}); err != nil {
		t.Fatal(err)
	}
	g.ahead.Store(int64(2 * time.Hour))
	check := func(when string) {
		t.Helper()
		for name, c := range map[string]*caller{"no key": {}, "unknown": stranger, "forged": forger, "expired": expiring, "revoked": revoked} {
			g.getsOn(t, when+name, c, false)
		}
		g.getsOn(t, when+"living", living, true)
		g.getsOn(t, when+"device", device, true)
		overTCP := func(o *nats.Options) error { o.InProcessServer, o.Url = nil, g.info.Bus; return nil }
		for name, connect := range map[string]func(string, ...nats.Option) (*nats.Conn, error){
			"a room's key": g.server.ConnectRoom, "the relay's key": g.server.ConnectHouse, "the stream's key": g.server.ConnectWatch} {
			if nc, err := connect("spy", overTCP); err == nil {
				nc.Close()
				t.Errorf("%s%s gets on over TCP", when, name)
			}
		}
	}
	check("")
	g.stop()
	ahead := g.ahead.Load()
	g = guard(t, dir, nil)
	g.ahead.Store(ahead)
	check("after a restart: ")
}

// getsOn tries to connect, and then without waiting for leave to say and hear things.
func (g *guarded) getsOn(t *testing.T, name string, c *caller, want bool) {
	t.Helper()
	nc, err := g.server.ConnectHouse("spy")
	house := spyOn(t, nc, err, "blufio.v1.ctl.>", "blufio.v1.evt.>", "blufio.v1.msg.>")
	defer nc.Close()
	var opts []nats.Option
	if c.public != "" {
		opts = append(opts, nats.Nkey(c.public, c.pair.Sign))
	}
	nc, err = nats.Connect(g.info.Bus, append(opts, nats.NoReconnect())...)
	if err == nil {
		nc.Close()
	}
	if (err == nil) != want {
		t.Errorf("%s: admitted is %v: %v", name, err == nil, err)
	}
	if want {
		return
	}
	w := dialRude(t, g.info.Bus)
	w.send(t, c.public, c.pair, "SUB > 1\r\nPUB blufio.v1.ctl.status 6\r\nforged\r\nPUB blufio.v1.evt.cost.recorded 6\r\nforged\r\nPING\r\n")
	heard, err := io.ReadAll(w.in) // ends when the server hangs up
	if text := string(heard); !strings.Contains(text, "-ERR 'Authorization Violation'") || strings.Contains(text, "PONG") || strings.Contains(text, "MSG ") {
		t.Errorf("%s: the server says %q, %v", name, text, err)
	}
	for _, m := range house.heard(t) {
		if string(m.Data) == "forged" {
			t.Errorf("%s: the house heard %s", name, m.Subject)
		}
	}
}

// Our own client knows that it is refused long before it would give up.
func TestDeniedCallFailsAtOnce(t *testing.T) {
	g := guard(t, t.TempDir()+"/data", nil)
	observer := g.key(t, bus.KeyRequest{Name: "dashboard", Role: bus.RoleObserver}).on(t, g)
	watching := bus.NewConn(observer.nc, bus.Options{Name: "dashboard", Logger: bustest.Logger(t), Says: bus.Contract()})
	for name, ask := range map[string]func() error{
		"blufio.v1.gov.read": func() error {
			_, err := bus.MemoryRead.Ask(t.Context(), g.op, bus.MemoryQuery{})
			return err
		},
		"blufio.v1.ctl.status": func() error {
			_, err := bus.StatusGet.Ask(t.Context(), watching, bus.StatusQuery{})
			return err
		},
		"blufio.v1.ctl.keys.issue": func() error {
			_, err := bus.KeyIssue.Ask(t.Context(), watching, bus.KeyRequest{})
			return err
		},
		"blufio.v1.msg.send.terminal": func() error { // its own timeout is 30 s
			_, err := bus.MessageSend.To("terminal").Ask(t.Context(), watching, bus.Reply{})
			return err
		},
	} {
		const tries = 20
		var worst time.Duration
		for range tries {
			start := time.Now()
			err := ask()
			worst = max(worst, time.Since(start))
			if bus.CodeOf(err) != bus.CodeDenied || err.Error() != "permission denied: "+name {
				t.Errorf("%s: %v", name, err)
			}
		}
		t.Logf("%s: the slowest of %d refusals took %s", name, tries, worst)
		if worst > time.Second { // the call's own timeout is 2 s and more
			t.Errorf("%s: a refusal took %s", name, worst)
		}
	}
}
