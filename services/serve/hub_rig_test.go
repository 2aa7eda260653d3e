// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// testHub is a real NATS server with the configuration that contrib/hub proposes.
type testHub struct {
	t      *testing.T
	dir    string
	conf   string // path
	port   int    // of the leaf listener, the same after a restart
	server *server.Server
	owner  nkeys.KeyPair
	nodes  []string
}

// newHub starts a hub that knows the given daemons.
func newHub(t *testing.T, nodes ...string) *testHub {
	t.Helper()
	h := &testHub{t: t, dir: t.TempDir(), nodes: nodes, port: server.RANDOM_PORT}
	h.conf = filepath.Join(h.dir, "hub.conf")
	h.owner = h.key("owner")
	h.certify()
	text := h.proposed()
	check(t, os.WriteFile(h.conf, []byte(text), 0o600))
	h.start()
	t.Cleanup(h.stop)
	return h
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// proposed is contrib/hub/hub.conf with this test's keys and paths in it.
func (h *testHub) proposed() string {
	data, err := os.ReadFile("../../contrib/hub/hub.conf")
	check(h.t, err)
	text := strings.NewReplacer("/var/lib/nats", h.dir, "/etc/nats", h.dir, "PUBLIC_KEY_OF_OWNER", public(h.t, h.owner)).Replace(string(data))
	one := regexp.MustCompile(`(?s)      \{ nkey: "PUBLIC_KEY_OF_KITCHEN".*?\n      \} \}\n`)
	block := one.FindString(text)
	if block == "" {
		h.t.Fatal("the example has no block for a daemon")
	}
	var all string
	for _, node := range h.nodes {
		all += strings.NewReplacer("PUBLIC_KEY_OF_KITCHEN", public(h.t, h.key(node)), "kitchen", node).Replace(block)
	}
	return one.ReplaceAllLiteralString(text, all)
}

// key makes or reads the key of someone; the seed lies where the daemon reads it.
func (h *testHub) key(name string) nkeys.KeyPair {
	path := h.seedFile(name)
	if seed, err := os.ReadFile(path); err == nil {
		pair, err := nkeys.FromSeed(seed)
		check(h.t, err)
		return pair
	}
	pair, err := nkeys.CreateUser()
	check(h.t, err)
	seed, err := pair.Seed()
	check(h.t, err)
	check(h.t, os.WriteFile(path, seed, 0o600))
	return pair
}

func (h *testHub) seedFile(name string) string { return filepath.Join(h.dir, name+".nk") }

func public(t *testing.T, pair nkeys.KeyPair) string {
	key, err := pair.PublicKey()
	check(t, err)
	return key
}

// certify makes a certificate for this machine that signs itself.
func (h *testHub) certify() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(h.t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	check(h.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(h.t, err)
	for name, block := range map[string]*pem.Block{"hub.crt": {Type: "CERTIFICATE", Bytes: der}, "hub.key": {Type: "PRIVATE KEY", Bytes: private}} {
		check(h.t, os.WriteFile(filepath.Join(h.dir, name), pem.EncodeToMemory(block), 0o600))
	}
}

func (h *testHub) start() {
	h.t.Helper()
	o, err := server.ProcessConfigFile(h.conf)
	check(h.t, err)
	o.Port, o.LeafNode.Host, o.LeafNode.Port = server.RANDOM_PORT, "127.0.0.1", h.port
	o.NoSigs, o.NoLog = true, true
	h.server, err = server.NewServer(o)
	check(h.t, err)
	h.server.Start()
	if !h.server.ReadyForConnections(10 * time.Second) {
		h.t.Fatal("the hub is not ready")
	}
	h.port = o.LeafNode.Port
}

func (h *testHub) stop() {
	h.server.Shutdown()
	h.server.WaitForShutdown()
}

func (h *testHub) url() string { return fmt.Sprintf("tls://127.0.0.1:%d", h.port) }

// connect is the hub's owner.
func (h *testHub) connect() *nats.Conn {
	h.t.Helper()
	nc, err := nats.Connect(h.server.ClientURL(), nats.Nkey(public(h.t, h.owner), h.owner.Sign))
	check(h.t, err)
	h.t.Cleanup(nc.Close)
	return nc
}

// stream makes the stream that the room's hint asks for.
func (h *testHub) stream() jetstream.Stream {
	h.t.Helper()
	js, err := jetstream.New(h.connect())
	check(h.t, err)
	s, err := js.CreateOrUpdateStream(h.t.Context(), jetstream.StreamConfig{Name: bus.NodeStream, Subjects: []string{bus.NodeFacts},
		Duplicates: 2 * time.Minute, AllowDirect: true})
	check(h.t, err)
	return s
}

// config is that of a daemon on the hub.
func (h *testHub) config(node string) Config {
	cfg := Defaults()
	cfg.Gateway.Listen, cfg.Bus.Listen, cfg.Memory.LimitMB, cfg.Daemon.Node = "127.0.0.1:0", "127.0.0.1:0", 2000, node
	cfg.Bus.Leaf.URL, cfg.Bus.Leaf.SeedFile, cfg.Bus.Leaf.CAFile = h.url(), h.seedFile(node), filepath.Join(h.dir, "hub.crt")
	return cfg
}

// member is a daemon on the hub.
type member struct {
	*bus.Conn // its operator's
	nc        *nats.Conn
	dir       string
	cfg       Config
	stop      func()
}

func (h *testHub) join(node string, change func(*Config)) *member {
	h.t.Helper()
	m := &member{dir: filepath.Join(h.t.TempDir(), "data"), cfg: h.config(node)}
	if change != nil {
		change(&m.cfg)
	}
	m.start(h.t)
	return m
}

// start runs the daemon and connects its operator.
func (m *member) start(t *testing.T) {
	t.Helper()
	background := context.WithoutCancel(t.Context())
	ctx, cancel := context.WithCancel(background)
	ready, ended := make(chan Info, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Config: m.cfg, DataDir: m.dir, Version: "test", Logger: bustest.Logger(t).With("node", m.cfg.Daemon.Node), Ready: func(i Info) { ready <- i }})
	}()
	var info Info
	select {
	case info = <-ready:
	case err := <-ended:
		t.Fatalf("%s ended: %v", m.cfg.Daemon.Node, err)
	case <-time.After(20 * time.Second):
		t.Fatalf("%s is not ready after 20 s", m.cfg.Daemon.Node)
	}
	device, err := embedded.LoadDevice(m.dir)
	check(t, err)
	m.nc, err = nats.Connect(info.Bus, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox), nats.NoReconnect())
	check(t, err)
	m.Conn = bus.NewConn(m.nc, bus.Options{Name: "cli", Logger: bustest.Logger(t),
		Says: []bus.Lane{bus.StatusGet, bus.NodeAsk, bus.NodeList, bus.MessageReceive, bus.EventsRead}})
	var once bool
	m.stop = func() {
		if once {
			return
		}
		once = true
		drain, release := context.WithTimeout(background, 5*time.Second)
		defer release()
		if err := m.Conn.Drain(drain); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s ended with %v", m.cfg.Daemon.Node, err)
		}
	}
	t.Cleanup(m.stop)
}
