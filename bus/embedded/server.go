// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Bounds of the server. Its own defaults are far wider: 64 MB pending for
// each client, 64 Ki connections.
const (
	maxPayload     = 1 << 20  // bytes in one message
	maxPending     = 4 << 20  // bytes waiting for one slow client, who is then cut off; see below
	maxControlLine = 4096     // bytes in one protocol line
	maxSubs        = 4096     // subscriptions of one connection
	maxClosed      = 32       // closed connections remembered for inspection
	maxIngest      = 16 << 20 // bytes waiting to be written into the event stream, whose own default is 128 MiB
	defaultConns   = 64
	writeDeadline  = 2 * time.Second
	authTimeout    = 2 * time.Second
	pingInterval   = 30 * time.Second
	maxPingsOut    = 3
	readyTimeout   = 5 * time.Second

	// Several messages of the largest size must find room with maxPending, or a
	// room that is merely busy would lose its connection (seen with 1 MiB: two
	// pages of long messages).

	// An in-process connection that broke comes back at once or, when the
	// server is gone, never.
	reconnectWait = 50 * time.Millisecond
	maxReconnects = 20
)

// ErrPortInUse means that another program holds the address of Config.Listen.
// The error that wraps it names the address.
var ErrPortInUse = errors.New("address already in use")

// Config says how to start a Server. Listen and Device are required, Dir as
// soon as OpenEvents is called.
type Config struct {
	Listen     string       // "127.0.0.1:4222"; a loopback address; port 0 is any free one
	EventsDays int          // age at which an event is discarded; default 7
	EventsMB   int          // MiB of events kept, the oldest discarded first; default 64
	Dir        string       // where the event stream lives, made (0700) when missing
	Device     *Device      // the operator's key
	Operator   *Device      // one more that may do what the device key may; nil: none
	Logger     *slog.Logger // nil: silent
	MaxConns   int          // connections, those in process included; default 64
	Keys       []Key        // let in from the first moment on
	Now        func() time.Time
	Leaf       *Leaf // the hub to join; nil: none

	ingest int64 // bytes; tests make it less
}

// Server is a running NATS server. Its methods may be called concurrently.
type Server struct {
	cfg      Config
	ns       *server.Server
	accounts accounts
	house    *Device // made for this boot: the relay, the desk
	room     *Device // made for this boot: the rooms
	watch    *Device // made for this boot: the event stream
	edge     *Device // made for this boot: the desk
	ring     *keyring
	log      *logBridge
	url      string

	keys keys

	opening sync.Mutex // one OpenEvents or Recreate at a time; guards the next three
	opened  int        // times the whole of JetStream was opened
	events  *Events    // nil until OpenEvents
	stopped bool       // Shutdown has begun

	closing sync.Once
	closed  chan struct{}
}

// Stats are counters since the start, except Connections.
type Stats struct {
	Connections    int // now, those in process included
	MaxConnections int
	StreamBytes    uint64 // kept for replay, 0 while the stream is not open
	MaxStreamBytes uint64
	Awaited        int // answers that keys wait for
	MaxAwaited     int
	KeyCalls       int // under way with the one key that has most
	MaxKeyCalls    int
	Replays        int // consumers of the event stream
	MaxReplays     int
	Pending        int // bytes that wait for the one client that has most
	MaxPending     int
	InMsgs         uint64 // messages received from clients
	OutMsgs        uint64 // messages sent to clients
	SlowConsumers  uint64 // clients cut off because they did not keep up
	AuthErrors     uint64 // connections refused for want of a key
	Denials        uint64 // publishes and subscriptions refused
	LimitErrors    uint64 // clients cut off for too large a message, one connection too many, or what is not NATS
}

// Start starts the server and returns once it accepts connections, within
// 5 s. JetStream stays off until OpenEvents. The error wraps ErrPortInUse when
// that is the reason.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := newServer(cfg)
	if err != nil {
		return nil, err
	}
	var holders []*holder
	for _, k := range cfg.Keys {
		h, err := s.ring.add(k)
		if err != nil {
			s.ns.Shutdown()
			return nil, err
		}
		holders = append(holders, h)
	}
	s.ns.Start()
	if err = s.started(ctx); err == nil {
		err = s.serveFirst(holders)
	}
	if err != nil {
		s.closeKeys()
		s.ns.Shutdown()
		return nil, err
	}
	s.url = "nats://" + s.ns.Addr().String()
	return s, nil
}

func newServer(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if cfg.Device == nil {
		return nil, errors.New("start bus: no device key")
	}
	host, port, err := loopback(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("bus address: %w", err)
	}
	s := &Server{cfg: cfg, log: &logBridge{log: cfg.Logger}, closed: make(chan struct{})}
	for _, d := range []**Device{&s.house, &s.room, &s.watch, &s.edge} {
		if *d, err = ephemeral(); err != nil {
			return nil, err
		}
	}
	if s.accounts, err = newAccounts(); err != nil {
		return nil, err
	}
	s.ring = &keyring{now: cfg.Now, holders: map[string]*holder{}}
	if s.ns, err = server.NewServer(s.options(host, port)); err != nil {
		return nil, fmt.Errorf("configure bus: %w", err)
	}
	s.log.who = s.Who
	s.ns.SetLogger(s.log, false, false)
	if s.accounts, err = s.accounts.registered(s.ns); err != nil {
		return nil, err
	}
	s.letIn()
	return s, nil
}

func (c Config) withDefaults() Config {
	if c.EventsDays <= 0 {
		c.EventsDays = 7
	}
	if c.EventsMB <= 0 {
		c.EventsMB = 64
	}
	if c.MaxConns <= 0 {
		c.MaxConns = defaultConns
	}
	if c.ingest <= 0 {
		c.ingest = maxIngest
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// CheckListen refuses an address that the bus does not listen on.
func CheckListen(listen string) error {
	_, _, err := loopback(listen)
	return err
}

// loopback splits an address and refuses any that others could reach: the
// bus speaks without TLS.
func loopback(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not an address with a port", listen)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || !addr.IsLoopback() {
		return "", 0, fmt.Errorf("%q is not a loopback address: without TLS the bus listens on this machine only", listen)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q: the port is not a number from 0 to 65535", listen)
	}
	if number == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(number), nil
}

func (s *Server) options(host string, port int) *server.Options {
	return s.cfg.Leaf.join(&server.Options{
		ServerName: "blufio", Host: host, Port: port,
		Accounts:          s.accounts.list(),
		SystemAccount:     accountSys,
		AlwaysEnableNonce: true, CustomClientAuthentication: s.ring,

		MaxConn: s.cfg.MaxConns, MaxSubs: maxSubs, MaxClosedClients: maxClosed,
		MaxPayload: maxPayload, MaxPending: maxPending, MaxControlLine: maxControlLine,
		WriteDeadline: writeDeadline, AuthTimeout: authTimeout.Seconds(),
		PingInterval: pingInterval, MaxPingsOut: maxPingsOut,

		NoSublistCache: true, // it would remember 1024 subjects an account; each connection remembers its own (bus.ForgetMatches)
		NoSigs:         true, NoLog: true, DisableJetStreamBanner: true,
		StoreDir:           s.cfg.Dir,
		JetStreamMaxMemory: streamMemory, JetStreamMaxStore: serverStore, StreamMaxBufferedSize: s.cfg.ingest,
	})
}

// started waits for the server to accept connections.
func (s *Server) started(ctx context.Context) error {
	if err := s.log.fatalError(); err != nil {
		if strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
			return fmt.Errorf("listen on %s: %w", s.cfg.Listen, ErrPortInUse)
		}
		return fmt.Errorf("start bus: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start bus: %w", err)
	}
	if !s.ns.ReadyForConnections(readyTimeout) {
		return fmt.Errorf("start bus: not listening on %s after %s", s.cfg.Listen, readyTimeout)
	}
	return nil
}

// OnDenied makes hear hear of every refusal from here on. It is called on the
// goroutine of the client at fault, often at once for several: it must not wait, and
// bound what it keeps.
func (s *Server) OnDenied(hear func(Denial)) { s.log.denied.Store(&hear) }

// URL returns the address for clients on this machine, with the real port.
func (s *Server) URL() string { return s.url }

// ConnectRoom connects a room, in process and without the network. The name
// is one lowercase word; it also makes the room's own inbox prefix. Options are
// applied last. The caller closes the connection. A room states no facts: they are
// rows that the relay publishes, and what micro answers under $SRV, to a subject that
// the asker chose, must not pass for one.
func (s *Server) ConnectRoom(name string, opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(s.room, "_INBOX.house.", name, opts)
}

// ConnectHouse connects one who may say everything in the account of the rooms.
func (s *Server) ConnectHouse(name string, opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(s.house, "_INBOX.house.", name, opts)
}

// ConnectWatch connects, in process, to the account of the event stream. What
// is published here no room hears.
func (s *Server) ConnectWatch(name string, opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(s.watch, "_INBOX.watch.", name, opts)
}

func (s *Server) connect(id *Device, inbox, name string, opts []nats.Option) (*nats.Conn, error) {
	if !isWord(name) {
		return nil, fmt.Errorf("connect %q to the bus: the name must be a lowercase word", name)
	}
	all := append([]nats.Option{
		nats.Name("blufio " + name), nats.InProcessServer(s.ns), id.NATSOption(),
		nats.CustomInboxPrefix(inbox + name), nats.Timeout(authTimeout),
		nats.ReconnectWait(reconnectWait), nats.MaxReconnects(maxReconnects),
	}, opts...)
	nc, err := nats.Connect("", all...)
	if err != nil {
		return nil, fmt.Errorf("connect %s to the bus: %w", name, err)
	}
	return nc, nil
}

// isWord says whether name is safe as one token of a subject.
func isWord(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// Stats returns the counters. It costs about as much as reading a file in
// /proc: fine for a scrape, too much for every message.
func (s *Server) Stats() Stats {
	st := Stats{
		Connections: s.ns.NumClients(), Awaited: s.awaited(), KeyCalls: s.keyCalls(),
		MaxConnections: s.cfg.MaxConns, MaxAwaited: maxAwaited, MaxKeyCalls: keyWork, MaxStreamBytes: uint64(s.cfg.eventBytes()),
		MaxReplays: maxConsumers, Pending: s.pending(), MaxPending: maxPending,
		AuthErrors: s.log.authErrors.Load(), Denials: s.log.denials.Load(), LimitErrors: s.log.limitErrors.Load(),
		SlowConsumers: s.log.cutOffs.Load(),
	}
	if v, err := s.ns.Varz(nil); err == nil {
		st.InMsgs, st.OutMsgs = uint64(v.InMsgs), uint64(v.OutMsgs)
	}
	if s.ns.JetStreamEnabled() { // not before the stream opens
		if v, err := s.ns.Jsz(nil); err == nil {
			st.StreamBytes, st.Replays = v.Bytes, v.Consumers
		}
	}
	return st
}

// pending is how many bytes wait for the client that has most.
func (s *Server) pending() (most int) {
	conns, err := s.ns.Connz(&server.ConnzOptions{Sort: server.ByPending, Limit: 1})
	if err != nil || len(conns.Conns) == 0 {
		return 0
	}
	return conns.Conns[0].Pending
}

// Listener is one subscription of a client that is on.
type Listener struct {
	Account string
	Client  string // what it calls itself: "blufio agent" for a room
	Subject string
}

// Listeners are all subscriptions of clients: what really is listened on, whatever
// the contract says.
func (s *Server) Listeners() ([]Listener, error) {
	conns, err := s.ns.Connz(&server.ConnzOptions{Username: true, Subscriptions: true, SubscriptionsDetail: true, Limit: allConns})
	if err != nil {
		return nil, fmt.Errorf("find subscriptions: %w", err)
	}
	var all []Listener
	for _, c := range conns.Conns {
		for _, sub := range c.SubsDetail {
			all = append(all, Listener{Account: c.Account, Client: c.Name, Subject: sub.Subject})
		}
	}
	return all, nil
}

// Shutdown ends every connection, closes the event stream and waits for all
// that to be done or for ctx. It may be called again to wait longer.
func (s *Server) Shutdown(ctx context.Context) error {
	s.closing.Do(func() {
		go func() {
			defer close(s.closed)
			s.closeKeys()
			s.closeEvents()
			s.ns.Shutdown()
			s.ns.WaitForShutdown()
		}()
	})
	select {
	case <-s.closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shut down bus: %w", ctx.Err())
	}
}
