// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

const patience = 30 * time.Second // for what must happen; a failing test waits so long

// guarded is a running daemon, its owner, and who stands inside.
type guarded struct {
	dir    string
	info   Info
	stop   func()
	server *embedded.Server
	op     *bus.Conn
	ahead  *atomic.Int64 // how far the daemon's clock is
}

// guard runs a daemon in dir.
func guard(t *testing.T, dir string, change func(*Config)) *guarded {
	t.Helper()
	g := &guarded{dir: dir, ahead: &atomic.Int64{}}
	g.info, g.stop = running(t, dir, func(o *Options) {
		o.opened = func(s *embedded.Server) { g.server = s }
		o.Now = func() time.Time { return time.Now().Add(time.Duration(g.ahead.Load())) }
		o.Logger = bustest.Logger(t)
		if change != nil {
			change(&o.Config)
		}
	})
	device, err := embedded.LoadDevice(dir)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(g.info.Bus, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	g.op = bus.NewConn(nc, bus.Options{Name: "cli", Logger: bustest.Logger(t), Says: bus.Contract()})
	return g
}

// caller is someone with a key, on a raw connection over TCP, who notes what it is
// refused.
type caller struct {
	name, public, inbox string
	pair                nkeys.KeyPair
	nc                  *nats.Conn

	mu      sync.Mutex
	refused []string // "Publish x", "Subscription x"
	told    chan string
}

var violation = regexp.MustCompile(`Violation for (\w+) to "([^"]+)"`)

func (c *caller) hear(_ *nats.Conn, _ *nats.Subscription, err error) {
	m := violation.FindStringSubmatch(err.Error())
	if m == nil {
		return
	}
	what := m[1] + " " + m[2]
	if m[2] == last {
		c.told <- what
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = append(c.refused, what)
}

// last is a subject that nobody may publish to. Refusals are told in their order, so
// when it is told all those before have been.
const last = "nobody.may.this"

// refusals returns what was refused since the last call.
func (c *caller) refusals(t *testing.T) map[string]bool {
	t.Helper()
	publish(t, c.nc, &nats.Msg{Subject: last})
	select {
	case <-c.told:
	case <-time.After(patience):
		t.Fatalf("%s is not told of a refusal", c.name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	set := map[string]bool{}
	for _, what := range c.refused {
		set[what] = true
	}
	c.refused = nil
	return set
}

// key issues a key.
func (g *guarded) key(t *testing.T, q bus.KeyRequest) *caller {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if q.PublicKey, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	k, err := bus.KeyIssue.Ask(t.Context(), g.op, q)
	if err != nil {
		t.Fatalf("issue %s: %v", q.Name, err)
	}
	return &caller{name: k.Name, public: k.PublicKey, inbox: k.Inbox, pair: pair, told: make(chan string, 1)}
}

// dial connects with the caller's key.
func (c *caller) dial(url string, opts ...nats.Option) (*nats.Conn, error) {
	all := append([]nats.Option{nats.Nkey(c.public, c.pair.Sign), nats.CustomInboxPrefix(c.inbox), nats.ErrorHandler(c.hear), nats.NoReconnect()}, opts...)
	return nats.Connect(url, all...)
}

// on connects the caller for the length of the test.
func (c *caller) on(t *testing.T, g *guarded) *caller {
	t.Helper()
	var err error
	if c.nc, err = c.dial(g.info.Bus); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	t.Cleanup(c.nc.Close)
	return c
}

// device is the owner with the device key.
func (g *guarded) device(t *testing.T) *caller {
	t.Helper()
	d, err := embedded.LoadDevice(g.dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, d.Private().Seed())
	if err != nil {
		t.Fatal(err)
	}
	return &caller{name: "device", public: d.PublicKey(), inbox: embedded.OperatorInbox, pair: pair, told: make(chan string, 1)}
}

// holders are one of each kind, connected.
func (g *guarded) holders(t *testing.T) []*caller {
	t.Helper()
	all := []*caller{g.device(t)}
	for _, q := range []bus.KeyRequest{
		{Name: "deputy", Role: bus.RoleOperator},
		{Name: "dashboard", Role: bus.RoleObserver},
		{Name: "turns", Role: bus.RoleObserver, AllowSub: []string{"evt.turn.*"}},
		{Name: "sms", Role: bus.RoleChannel},
		{Name: "weather", Role: bus.RoleTool},
		{Name: "watchdog", Role: bus.RoleExplicit, AllowPub: []string{"ctl.status"}, AllowSub: []string{"evt.cost.*"}},
	} {
		all = append(all, g.key(t, q))
	}
	for _, c := range all {
		c.on(t, g)
	}
	return all
}

func publish(t *testing.T, nc *nats.Conn, m *nats.Msg) {
	t.Helper()
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
}

func flush(t *testing.T, nc *nats.Conn) {
	t.Helper()
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
}

// spy hears everything that its connection can hear.
type spy struct {
	nc   *nats.Conn
	mu   sync.Mutex
	seen []*nats.Msg
}

func spyOn(t *testing.T, nc *nats.Conn, err error, subjects ...string) *spy {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	s := &spy{nc: nc}
	for _, subject := range subjects {
		_, err := nc.Subscribe(subject, func(m *nats.Msg) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.seen = append(s.seen, m)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	flush(t, nc)
	return s
}

// heard returns what the spy has heard of all that was published before, once.
func (s *spy) heard(t *testing.T) []*nats.Msg {
	t.Helper()
	flush(t, s.nc)
	// What has arrived is handed over in its order, in a goroutine for each subscription.
	done := make(chan struct{})
	if err := s.nc.Barrier(func() { close(done) }); err != nil {
		t.Fatal(err)
	}
	<-done
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

// inside are spies in the accounts of the rooms and of the stream, and a neighbour: a
// key like others.
func (g *guarded) inside(t *testing.T) (house, watch, neighbour *spy) {
	t.Helper()
	nc, err := g.server.ConnectHouse("spy")
	house = spyOn(t, nc, err, ">")
	nc, err = g.server.ConnectWatch("spy")
	watch = spyOn(t, nc, err, ">")
	other := g.key(t, bus.KeyRequest{Name: "neighbour", Role: bus.RoleObserver})
	nc, err = other.dial(g.info.Bus)
	return house, watch, spyOn(t, nc, err, bus.Facts, other.inbox+".>")
}

// listenedOn are the subjects on which someone listens in the running server, by who
// that is.
func (g *guarded) listenedOn(t *testing.T) []embedded.Listener {
	t.Helper()
	all, err := g.server.Listeners()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The subjects that rooms listen on are those of the contract, each in the room that
// the contract names, and every call has a room that listens.
func TestListenersEqualTheContract(t *testing.T) {
	g := guard(t, t.TempDir()+"/data", nil)
	answered := map[string]bool{} // "room lane"
	for _, l := range g.listenedOn(t) {
		room, ours := strings.CutPrefix(l.Client, "blufio ")
		if !ours || l.Account != "HOUSE" || !strings.HasPrefix(l.Subject, "blufio.") {
			continue
		}
		i := slices.IndexFunc(bus.Contract(), func(lane bus.Lane) bool {
			s := lane.Spec()
			return slices.Contains(s.Heard, room) && bus.Covers(s.Subject(), l.Subject)
		})
		if i < 0 {
			t.Errorf("%s listens on %s, and the contract does not say so", room, l.Subject)
			continue
		}
		answered[room+" "+bus.Contract()[i].Spec().Name] = true
	}
	for _, lane := range bus.Contract() {
		for _, room := range lane.Spec().Heard {
			if s := lane.Spec(); room != bus.Anyone && s.Kind == bus.KindCall && !answered[room+" "+s.Name] {
				t.Errorf("%s does not listen on %s", room, s.Name)
			}
		}
	}
	if len(answered) < 20 {
		t.Errorf("only %d lanes were found: %v", len(answered), answered)
	}
}

// sorted are a set's members, for a message.
func sorted(set map[string]bool) string {
	var all []string
	for s := range set {
		all = append(all, s)
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}
