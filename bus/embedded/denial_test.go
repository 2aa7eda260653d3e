// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// refusals collects what a server refuses.
type refusals struct {
	mu   sync.Mutex
	seen map[Denial]int
}

func hearRefusals(s *Server) *refusals {
	r := &refusals{seen: map[Denial]int{}}
	s.OnDenied(func(d Denial) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen[d]++
	})
	return r
}

func (r *refusals) count(d Denial) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[d]
}

func (r *refusals) want(t *testing.T, n int, d Denial) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d times %+v", n, d), func() bool { return r.count(d) == n })
}

func TestDenialsSayWhoAndWhat(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxConns = 8 })
	r := hearRefusals(s)
	stranger, own := device(t), s.cfg.Device.PublicKey()
	for _, opts := range [][]nats.Option{nil, {nats.UserInfo("operator", "my password")}, {nats.Token("secret")}, {stranger.NATSOption()}, {nats.Nkey(own, stranger.Sign)}} {
		if nc, err := nats.Connect(s.URL(), opts...); err == nil {
			nc.Close()
			t.Error("admitted")
		}
	}
	r.want(t, 3, Denial{Reason: DeniedNoKey})
	r.want(t, 1, Denial{Reason: DeniedBadKey, Key: stranger.PublicKey()})
	r.want(t, 1, Denial{Reason: DeniedBadKey, Key: own})

	op := operator(t, s)
	for _, subject := range []string{"blufio.v1.evt.forged", "blufio.v1.evt.forged", `odd"%d%[1]q\subject`} {
		if err := op.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := op.QueueSubscribeSync("$SRV.>", "group"); err != nil {
		t.Fatal(err)
	}
	flush(t, op)
	r.want(t, 2, Denial{Reason: DeniedPermission, Key: own, Subject: "blufio.v1.evt.forged"})
	r.want(t, 1, Denial{Reason: DeniedPermission, Key: own, Subject: "$SRV.>"})
	r.want(t, 1, Denial{Reason: DeniedPermission, Key: own, Subject: `odd"%d%[1]q\subject`})

	for _, text := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT {no JSON}\r\n"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "nats://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	r.want(t, 4, Denial{Reason: DeniedNoKey})
	r.want(t, 1, Denial{Reason: DeniedProtocol})

	for s.ns.NumClients() < 8 {
		operator(t, s)
	}
	if nc, err := nats.Connect(s.URL(), s.cfg.Device.NATSOption()); err == nil {
		nc.Close()
		t.Error("one connection too many was admitted")
	}
	r.want(t, 1, Denial{Reason: DeniedLimit})
	if st := s.Stats(); st.AuthErrors != 6 || st.Denials != 4 || st.LimitErrors != 2 {
		t.Errorf("counted %+v", st)
	}
}

// What a client calls itself does not make another one look guilty, nor itself
// innocent.
func TestDenialsAreNotForged(t *testing.T) {
	s := start(t, nil)
	r := hearRefusals(s)
	victim, own := device(t).PublicKey(), s.cfg.Device.PublicKey()
	names := []string{
		`x" - "HOUSE/nkey:` + victim + `" - Publish Violation - Subject "blufio.v1.evt.forged`,
		` - authentication error - Nkey "` + victim + `"`, "%s %q %[1]s %[2]q %", "authentication error", "maximum payload exceeded: 1 vs 2", " - ", "a\r\nb",
	}
	for _, name := range names {
		nc, err := nats.Connect(s.URL(), s.cfg.Device.NATSOption(), nats.Name(name), nats.CustomInboxPrefix(OperatorInbox), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Publish("blufio.v1.evt.real", nil); err != nil {
			t.Fatal(err)
		}
		flush(t, nc)
		nc.Close()
	}
	// The one with verbs in its name hides the subject, but not itself.
	r.want(t, len(names)-1, Denial{Reason: DeniedPermission, Key: own, Subject: "blufio.v1.evt.real"})
	r.want(t, 1, Denial{Reason: DeniedPermission, Key: own})
	if len(r.seen) != 2 || s.Stats().Denials != uint64(len(names)) {
		t.Errorf("%+v", r.seen)
	}
}

// Whatever stands in a line, reading it does not panic, and a key that is named is one.
func FuzzReadDenial(f *testing.F) {
	key := "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
	for _, event := range []string{`Publish Violation - Subject "a.b"`, `Publish Violation - Reply "x"`, `Subscription Violation - Subject "a", SID 1`, "maximum payload exceeded: 2 vs 1", "Slow Consumer Detected: MaxPending of 5 Exceeded"} {
		f.Add(`127.0.0.1:1 - cid:5 - "v1:go:name" - "HOUSE/nkey:` + key + `" - ` + event)
	}
	f.Add(`127.0.0.1:1 - cid:5 - authentication error - Nkey "` + key + `"`)
	f.Add(`pipe - cid:5 - authentication error - User "x"`)
	f.Fuzz(func(t *testing.T, text string) {
		d, ok := readDenial(text)
		cut, connection, off := readCutOff(text)
		for _, d := range []Denial{d, cut} {
			if d.Key != "" && !nkeys.IsValidPublicUserKey(d.Key) {
				t.Errorf("%q: %+v", text, d)
			}
		}
		if !ok && d != (Denial{}) || off != (cut.Reason == DeniedSlow) || off != (connection != "") {
			t.Errorf("%q: %+v, %+v", text, d, cut)
		}
	})
}

// Who hears of denials asks for names, on the goroutine of the client at fault. That
// must not wait for whoever changes the keys, for the server may be asking the keyring
// about that client.
func TestNamesAreNotWaitedFor(t *testing.T) {
	s := start(t, nil)
	k, _ := issue(t, s, bus.RoleObserver, "greedy")
	for range keyConns - 1 {
		k.connect(t, s)
	}
	entered, written := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.OnDenied(func(d Denial) {
		once.Do(func() {
			close(entered)
			<-written // a change of the keys waits by now
		})
		s.NameOf(d.Key)
	})
	go func() {
		if nc, err := k.dial(s); err == nil { // one too many
			nc.Close()
		}
	}()
	<-entered
	changed := make(chan error, 1)
	go func() { changed <- s.AddKey(newKey(t, bus.RoleObserver, "other").Key) }()
	eventually(t, "a change of the keys waits", func() bool {
		if !s.ring.mu.TryRLock() {
			return true
		}
		s.ring.mu.RUnlock()
		return false
	})
	close(written)
	select {
	case err := <-changed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the keyring is locked for ever")
	}
}
