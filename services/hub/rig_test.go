// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/relay"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// outside is a hub whose users may do everything: what does not cross is kept back
// by the daemons.
type outside struct {
	t      *testing.T
	dir    string
	domain string
	port   int
	server *server.Server
	seed   string // file
	public string
}

func newOutside(t *testing.T, domain string) *outside {
	t.Helper()
	o := &outside{t: t, dir: t.TempDir(), domain: domain, port: server.RANDOM_PORT}
	pair, err := nkeys.CreateUser()
	o.check(err)
	seed, err := pair.Seed()
	o.check(err)
	o.public, err = pair.PublicKey()
	o.check(err)
	o.seed = filepath.Join(o.dir, "leaf.nk")
	o.check(os.WriteFile(o.seed, seed, 0o600))
	o.start()
	t.Cleanup(func() { o.stop() })
	return o
}

func (o *outside) check(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *outside) start() {
	o.t.Helper()
	account := server.NewAccount("BLUFIO")
	opts := &server.Options{ServerName: "hub", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: o.dir, JetStreamDomain: o.domain, JetStreamMaxMemory: 1 << 20, JetStreamMaxStore: 1 << 30,
		Accounts: []*server.Account{account},
		Nkeys:    []*server.NkeyUser{{Nkey: o.public, Account: account}},
		Users:    []*server.User{{Username: "owner", Password: "owner", Account: account}}}
	opts.LeafNode.Host, opts.LeafNode.Port = "127.0.0.1", o.port
	var err error
	o.server, err = server.NewServer(opts)
	o.check(err)
	o.server.Start()
	if !o.server.ReadyForConnections(10 * time.Second) {
		o.t.Fatal("the hub is not ready")
	}
	o.port = opts.LeafNode.Port
	a, err := o.server.LookupAccount("BLUFIO")
	o.check(err)
	if !a.JetStreamEnabled() {
		o.check(a.EnableJetStream(nil, nil))
	}
}

func (o *outside) stop() {
	o.server.Shutdown()
	o.server.WaitForShutdown()
}

func (o *outside) connect() *nats.Conn {
	o.t.Helper()
	nc, err := nats.Connect(o.server.ClientURL(), nats.UserInfo("owner", "owner"))
	o.check(err)
	o.t.Cleanup(nc.Close)
	return nc
}

func (o *outside) stream(change func(*jetstream.StreamConfig)) jetstream.Stream {
	o.t.Helper()
	js, err := jetstream.New(o.connect())
	o.check(err)
	cfg := jetstream.StreamConfig{Name: bus.NodeStream, Subjects: []string{bus.NodeFacts}, AllowDirect: true, Duplicates: 2 * time.Minute}
	if change != nil {
		change(&cfg)
	}
	s, err := js.CreateOrUpdateStream(o.t.Context(), cfg)
	o.check(err)
	return s
}

// daemon is a bus, an event log with its relay, and the hub room.
type daemon struct {
	t      *testing.T
	name   string
	server *embedded.Server
	store  *sqlite.Store
	log    *eventlog.Log
	room   *Service
	cli    *bus.Conn
	stop   func()
}

type option func(*embedded.Config, *Service)

// join starts a daemon on the hub.
func (o *outside) join(name string, options ...option) *daemon {
	t := o.t
	t.Helper()
	d := &daemon{t: t, name: name, store: roomtest.Store(t, Schema)}
	d.log = eventlog.New(d.store)
	d.start(o, options...)
	return d
}

// start runs it, again on what it stored if it ran before.
func (d *daemon) start(o *outside, options ...option) {
	t := d.t
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	device, err := embedded.LoadOrCreateDevice(dir)
	o.check(err)
	leaf, err := embedded.LoadLeaf(embedded.LeafConfig{URL: fmt.Sprintf("nats-leaf://127.0.0.1:%d", o.port), SeedFile: o.seed, Node: d.name})
	o.check(err)
	cfg := embedded.Config{Listen: "127.0.0.1:0", Dir: filepath.Join(dir, "events"), EventsMB: 4, Device: device, Logger: bustest.Logger(t), Leaf: leaf}
	for _, change := range options {
		change(&cfg, &Service{})
	}
	d.server, err = embedded.Start(t.Context(), cfg)
	o.check(err)
	open := make(chan struct{})
	close(open)
	endRelay := d.run(relay.New(d.log, d.server, open, bustest.Logger(t)))
	d.room = New(Deps{Server: d.server, Store: d.store, Logger: bustest.Logger(t), Now: time.Now})
	d.room.bounds.claimEvery, d.room.bounds.claimWait, d.room.bounds.retryFirst, d.room.bounds.retryMost = 300*time.Millisecond, 150*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond
	d.room.bounds.watch, d.room.bounds.grace, d.room.bounds.rollQuiet, d.room.bounds.parting = 10*time.Millisecond, 50*time.Millisecond, 300*time.Millisecond, 50*time.Millisecond
	for _, change := range options {
		change(&cfg, d.room)
	}
	endRoom := d.run(d.room)
	nc, err := d.server.ConnectHouse("cli")
	o.check(err)
	d.cli = bus.NewConn(nc, bus.Options{Name: "cli", Logger: bustest.Logger(t), Says: []bus.Lane{bus.NodeAsk, bus.NodeList}})
	control := d.connect("control")
	o.check(control.Handle(t.Context(), bus.StatusGet.Answer(func(context.Context, bus.StatusQuery) (bus.Status, error) {
		return bus.Status{Schema: bus.StatusSchema, State: bus.Healthy, Node: d.name}, nil
	})))
	done := false
	d.stop = func() {
		if done {
			return
		}
		done = true
		endRoom()
		endRelay()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := d.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(d.stop)
}

func (d *daemon) connect(name string) *bus.Conn {
	nc, err := d.server.ConnectHouse(name)
	if err != nil {
		d.t.Fatal(err)
	}
	return bus.NewConn(nc, bus.Options{Name: name, Logger: bustest.Logger(d.t)})
}

// run is roomtest.Start for a server of our own.
func (d *daemon) run(s interface {
	Run(context.Context, *bus.Conn, func()) error
}) (stop func()) {
	t := d.t
	t.Helper()
	door := doorOf(s)
	nc, err := d.server.ConnectHouse(door.Name)
	if err != nil {
		t.Fatal(err)
	}
	conn := bus.NewConn(nc, bus.Options{Name: door.Name, Says: door.Says, Logger: bustest.Logger(t)})
	background := context.WithoutCancel(t.Context())
	ctx, cancel := context.WithCancel(background)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.Run(ctx, conn, func() {
			if err := conn.Handle(ctx, door.Hears...); err != nil {
				t.Errorf("handle: %v", err)
			}
			close(ready)
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("%s ended before it was ready: %v", door.Name, err)
	case <-time.After(10 * time.Second):
		t.Fatalf("%s is not ready after 10 s", door.Name)
	}
	return func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s ended with: %v", door.Name, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s did not end within 10 s", door.Name)
		}
		limit, release := context.WithTimeout(background, 5*time.Second)
		defer release()
		if err := conn.Drain(limit); err != nil {
			t.Errorf("drain %s: %v", door.Name, err)
		}
	}
}

// hears waits until the daemon knows what nc, at the hub, has subscribed to: interest
// crosses to a leaf node after a Flush is answered, in the order of the subscriptions.
func (d *daemon) hears(nc *nats.Conn) {
	d.t.Helper()
	last, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		d.t.Fatal(err)
	}
	bustest.Eventually(d.t, "it is heard at the hub", func() bool {
		leaf := d.room.leaf.Load()
		if leaf == nil || leaf.Publish(last.Subject, nil) != nil {
			return false
		}
		_, err := last.NextMsg(10 * time.Millisecond)
		return err == nil
	})
	if err := last.Unsubscribe(); err != nil {
		d.t.Fatal(err)
	}
}

// record writes n events, each with size bytes of text.
func (d *daemon) record(n, size int) {
	d.t.Helper()
	for range n {
		err := d.store.Write(d.t.Context(), func(tx *sqlite.Tx) error {
			return eventlog.Record(d.log, tx, bus.RoomRestarted, bus.RestartedFact{Service: strings.Repeat("x", size)})
		})
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

// problem is the code of what the room complains of, "" for nothing.
func (d *daemon) problem() string {
	if p := d.room.health(); len(p) > 0 {
		return p[0].Code
	}
	return ""
}

// held is what the hub's stream has of one daemon.
func held(t *testing.T, s jetstream.Stream, node string) (msgs []*jetstream.RawStreamMsg) {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := max(info.State.FirstSeq, 1); seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(m.Subject, bus.NodeSubject(node, "evt.")) {
			msgs = append(msgs, m)
		}
	}
	return msgs
}

// inOrder fails unless the messages are the positions from first to last, each
// once and in order.
func inOrder(t *testing.T, msgs []*jetstream.RawStreamMsg, first, last int64) {
	t.Helper()
	ids := map[string]bool{}
	next := first
	for _, m := range msgs {
		id := m.Header.Get(nats.MsgIdHdr)
		if ids[id] {
			t.Errorf("%s is there twice", id)
		}
		ids[id] = true
		if got := m.Header.Get(bus.HeaderSeq); got != fmt.Sprint(next) {
			t.Fatalf("position %s where %d is due", got, next)
		}
		next++
	}
	if next != last+1 {
		t.Fatalf("ends with %d, not with %d", next-1, last)
	}
}
