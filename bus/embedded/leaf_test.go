// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

func TestParseLeafURL(t *testing.T) {
	for text, want := range map[string]string{
		"tls://hub.example.org:7000":      "tls://hub.example.org:7000",
		"tls://hub.example.org":           "tls://hub.example.org:7422",
		"tls://hub.example.org/":          "tls://hub.example.org:7422",
		"nats-leaf://127.0.0.1:7422":      "nats-leaf://127.0.0.1:7422",
		"nats-leaf://localhost":           "nats-leaf://localhost:7422",
		"nats-leaf://[::1]:1":             "nats-leaf://[::1]:1",
		"nats-leaf://hub.example.org":     "not on this machine",
		"nats-leaf://10.0.0.1:7422":       "not on this machine",
		"nats-leaf://127.0.0.1.nip.io":    "not on this machine",
		"nats-leaf://0.0.0.0:7422":        "not on this machine",
		"nats://127.0.0.1:4222":           "needs tls://",
		"ws://127.0.0.1:4222":             "needs tls://",
		"127.0.0.1:7422":                  "is not like",
		"tls://":                          "is not like",
		"tls://user:hunter2@hub":          "is not like",
		"tls://hub/path":                  "is not like",
		"tls://hub?x=1":                   "is not like",
		"tls://user:hunter2@hub:\x7f7422": "is not like",
	} {
		u, err := ParseLeafURL(text)
		got := fmt.Sprint(u)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || strings.Contains(got, "hunter2") {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func FuzzParseLeafURL(f *testing.F) {
	for _, seed := range []string{"tls://hub:7422", "nats-leaf://127.0.0.1", "nats-leaf://[::1%25lo]:1", "://", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseLeafURL(text)
		if err == nil && (u.Port() == "" || u.User != nil || u.Scheme == schemePlain && !onThisMachine(u.Hostname())) {
			t.Errorf("%q is %v", text, u)
		}
	})
}

// seedFile writes a fresh seed.
func seedFile(t *testing.T, make func() (nkeys.KeyPair, error), mode os.FileMode) (path, seed string) {
	t.Helper()
	pair, err := make()
	if err != nil {
		t.Fatal(err)
	}
	text, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "leaf.nk")
	if err := os.WriteFile(path, append(text, '\n'), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path, string(text)
}

// A key that others may read, or that is none, keeps the daemon from starting and
// says what mends it; the seed is never shown.
func TestLeafKey(t *testing.T) {
	good, seed := seedFile(t, nkeys.CreateUser, 0o600)
	open, _ := seedFile(t, nkeys.CreateUser, 0o640)
	account, _ := seedFile(t, nkeys.CreateAccount, 0o600)
	empty := filepath.Join(t.TempDir(), "none")
	for path, want := range map[string]string{open: "open to others", account: "does not hold the seed of a user", empty: "does not exist", "": "does not exist"} {
		_, err := LoadLeaf(LeafConfig{URL: "tls://hub", SeedFile: path, Node: "kitchen"})
		var key *KeyError
		if !errors.As(err, &key) || !strings.HasPrefix(err.Error(), "hub key ") || !strings.Contains(err.Error(), want) || key.Fix == "" {
			t.Errorf("%s: %v", path, err)
		}
	}
	l, err := LoadLeaf(LeafConfig{URL: "tls://hub", SeedFile: good, Node: "kitchen"})
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if text := fmt.Sprintf(format, l) + fmt.Sprintf(format, *l); strings.Contains(text, seed) || strings.Contains(text, fmt.Sprintf("%x", seed)) {
			t.Errorf("%s shows the seed", format)
		}
	}
	for _, cfg := range []LeafConfig{{URL: "tls://hub", SeedFile: good, Node: "Kitchen.local"}, {URL: "tls://hub", SeedFile: good, Node: "kitchen", CAFile: good},
		{URL: "tls://hub", SeedFile: good, Node: "kitchen", CAFile: empty}, {URL: "nats-leaf://hub", SeedFile: good, Node: "kitchen"}} {
		if _, err := LoadLeaf(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}

// hubServer is a NATS server that admits the key as a leaf.
func hubServer(t *testing.T, public string) string {
	t.Helper()
	account := server.NewAccount("BLUFIO")
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		Accounts: []*server.Account{account}, Nkeys: []*server.NkeyUser{{Nkey: public, Account: account}}}
	o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
	ns, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(5 * time.Second) {
		t.Fatal("the hub is not ready")
	}
	return fmt.Sprintf("nats-leaf://127.0.0.1:%d", o.LeafNode.Port)
}

// joined starts a bus server on a hub and waits until it has joined.
func joined(t *testing.T) *Server {
	t.Helper()
	path, seed := seedFile(t, nkeys.CreateUser, 0o600)
	pair, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := LoadLeaf(LeafConfig{URL: hubServer(t, public), SeedFile: path, Node: "kitchen"})
	if err != nil {
		t.Fatal(err)
	}
	s := leafServer(t, leaf)
	eventually(t, "it has joined", s.HubConnected)
	return s
}

// leafServer is a bus server that joins the hub.
func leafServer(t *testing.T, leaf *Leaf) *Server {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	device, err := LoadOrCreateDevice(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Dir: dir + "/events", Device: device, Leaf: leaf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return s
}

// Keys come and go, which takes accounts apart and puts them together: the connection to
// the hub stays.
func TestKeysKeepTheLeaf(t *testing.T) {
	s := joined(t)
	before, err := s.ns.Leafz(nil)
	if err != nil || len(before.Leafs) != 1 {
		t.Fatalf("%+v, %v", before, err)
	}
	for range 10 {
		k := Key{Public: device(t).PublicKey(), Name: "watcher", Role: bus.RoleObserver, Inbox: "watcher"}
		if err := errors.Join(s.AddKey(k), s.RemoveKey(k.Public)); err != nil {
			t.Fatal(err)
		}
	}
	after, err := s.ns.Leafz(nil)
	if err != nil || len(after.Leafs) != 1 || after.Leafs[0].ID != before.Leafs[0].ID || after.Leafs[0].Account != accountLeaf {
		t.Errorf("%+v, %v", after, err)
	}
}

// The one user of LEAF is refused over TCP, and may listen only where a hub may ask.
func TestLeafAccountIsClosed(t *testing.T) {
	s := joined(t)
	id := s.cfg.Leaf.room
	if nc, err := nats.Connect(s.URL(), id.NATSOption()); err == nil {
		nc.Close()
		t.Error("the room's key gets on over TCP")
	}
	denied := make(chan error, 8)
	nc, err := s.ConnectLeaf(nats.PermissionErrOnSubscribe(true), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	for _, subject := range []string{">", "blufio.>", "blufio.node.>", "blufio.node.garage.v1.ctl.>", "blufio.v1.>", "_INBOX.>", "$JS.>"} {
		sub, err := nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sub.NextMsg(5 * time.Second); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: %v", subject, err)
		}
		<-denied
	}
	for _, subject := range []string{"blufio.v1.evt.turn.completed", "blufio.v1.ctl.status", "$SYS.REQ.SERVER.PING", "$SRV.PING"} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		if err := <-denied; !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: %v", subject, err)
		}
	}
}

// The lines are those of nats-server 2.15.
func TestLeafReason(t *testing.T) {
	for text, want := range map[string]string{
		`127.0.0.1:37422 - lid:12 - Leafnode Error 'Authorization Violation'`:                                                                              "it does not know the key of this daemon",
		`127.0.0.1:37422 - lid:10 - TLS leafnode handshake error: tls: failed to verify certificate: x509: certificate signed by unknown authority (CN=x)`: "tls: failed to verify certificate: x509: certificate signed by unknown authority",
		`Error trying to connect as leafnode to remote server "127.0.0.1:1" (attempt 1): dial tcp 127.0.0.1:1: connect: connection refused`:                "dial tcp 127.0.0.1:1: connect: connection refused",
		`127.0.0.1:1 - cid:5 - Publish Violation - User "x"`:                                                                                               "",
	} {
		if got, ok := leafReason(text); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", text, got, ok)
		}
	}
	var l leafTrouble
	now := time.Now()
	for i, want := range []bool{true, false, true, false, true} {
		if i == 2 || i == 4 {
			now = now.Add(leafLogEvery)
		}
		if got := l.note("x", now); got != want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	if !l.note("y", now) || l.last() != "y" {
		t.Error("another reason is news")
	}
}

// A hub that does not know the key, or shows a foreign certificate, is told of in
// the words of the trouble.
func TestHubTrouble(t *testing.T) {
	path, _ := seedFile(t, nkeys.CreateUser, 0o600)
	stranger, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := stranger.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := LoadLeaf(LeafConfig{URL: hubServer(t, public), SeedFile: path, Node: "kitchen"})
	if err != nil {
		t.Fatal(err)
	}
	s := leafServer(t, leaf)
	eventually(t, "it is told why", func() bool { return s.HubTrouble() == "it does not know the key of this daemon" })
}
