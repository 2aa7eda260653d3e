// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/serve"
	"github.com/nats-io/nats.go"
)

func TestDoctorFindsTrouble(t *testing.T) {
	t.Parallel()
	for _, b := range []breakage{
		{name: "a part that does not come back", up: true, sick: endRelay, id: "BLF-ROOM-001", seen: "relay: ", fix: "log"},
		{name: "a client that does not keep up", up: true, sick: slowClient, id: "BLF-BUS-002", level: bus.LevelInfo, seen: "cut off 1 that did not keep up", fix: "bus.max_connections"},
		{name: "a call without a price", up: true, sick: settleUnpriced, id: "BLF-COST-003", seen: "calls wait for the price of of-no-price", fix: "cost.prices"},
		{name: "a model of no price", set: append(openAI("http://127.0.0.1:1"), "BLUFIO_AGENT__MODEL=of-no-price"), id: "BLF-CFG-001", seen: "of-no-price", fix: "cost.prices"},
		{name: "a log that is cut off", id: "BLF-DB-001", level: bus.LevelWarn, seen: "ends in the middle of a page", fix: "restore a backup",
			sick: func(p *patient) { p.crash(); p.shorten("blufio.db-wal", 100) }},
		{name: "a directory that takes no writes", sick: func(p *patient) {
			p.chmod("", 0o500)
			p.Cleanup(func() { p.chmod("", 0o700) })
		}, id: "BLF-FILE-001", seen: "mode 0500", fix: "chmod 700"},
		{name: "a file system that takes no writes", pre: smallDisk, sick: readOnlyDisk, id: "BLF-FILE-001", seen: "read-only", fix: "mount it for writing"},
		{name: "a key of the bus that ends", up: true, sick: func(p *patient) { p.issueKey("5d") }, id: "BLF-KEY-002", level: bus.LevelInfo, seen: "dash at ", fix: "keys issue"},
		{name: "a key that cannot be taken back for good", up: true, sick: halfRevoked, id: "BLF-KEY-001", seen: "no space", fix: "revoke the key again"},
	} {
		b.run(t)
	}
}

// endRelay takes the relay's table away until the test ends.
func endRelay(p *patient) {
	p.sql("ALTER TABLE event RENAME TO gone")
	p.Cleanup(func() { p.sql("ALTER TABLE gone RENAME TO event") })
	for end := time.Now().Add(20 * time.Second); !strings.Contains(p.log.String(), "room failed"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("the relay does not fail\n%s", &p.log)
		}
	}
}

// operator is a connection as the command line has one.
func (p *patient) operator(o ...nats.Option) *nats.Conn {
	p.Helper()
	info, err := serve.ReadInfo(p.dir)
	p.check(err)
	device, err := embedded.LoadDevice(p.dir)
	p.check(err)
	nc, err := nats.Connect(info.Bus, append(o, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox), nats.NoReconnect())...)
	p.check(err)
	p.Cleanup(nc.Close)
	return nc
}

// sleeper is a network connection that stops to read.
type sleeper struct {
	net.Conn
	asleep chan struct{} // closed when it falls asleep
	wake   chan struct{} // closed when the test ends
}

func (s *sleeper) Read(b []byte) (int, error) {
	select {
	case <-s.asleep:
		<-s.wake
	default:
	}
	return s.Conn.Read(b)
}

// Dial implements nats.CustomDialer.
func (s *sleeper) Dial(network, address string) (c net.Conn, err error) {
	if s.Conn, err = net.Dial(network, address); err == nil {
		err = s.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	}
	return s, err
}

// slowClient hears what every operator is answered and does not read it, until the
// daemon cuts it off.
func slowClient(p *patient) {
	s := &sleeper{asleep: make(chan struct{}), wake: make(chan struct{})}
	slow := p.operator(nats.SetCustomDialer(s))
	asking := bus.NewConn(p.operator(), bus.Options{Name: "cli", Says: []bus.Lane{bus.DoctorRun, bus.JobGet}})
	job, err := bus.DoctorRun.Ask(p.Context(), asking, bus.DoctorRequest{})
	p.check(err)
	p.Cleanup(func() { close(s.wake) })
	_, err = slow.SubscribeSync(embedded.OperatorInbox + ".>")
	p.check(err)
	p.check(slow.Flush())
	close(s.asleep)
	for end := time.Now().Add(20 * time.Second); !strings.Contains(p.metrics(), "\nblufio_bus_slow_consumers_total 1\n"); {
		if time.Now().After(end) {
			p.Fatal("it is not cut off")
		}
		for range 20 {
			_, err := bus.JobGet.Ask(p.Context(), asking, bus.JobQuery{ID: job.ID}) // all findings, each time
			p.check(err)
		}
	}
}

// settleUnpriced books a call of a model whose price nobody knows.
func settleUnpriced(p *patient) {
	c := bus.NewConn(p.operator(), bus.Options{Name: "cli", Says: []bus.Lane{bus.CostSettle}})
	_, err := bus.CostSettle.Ask(p.Context(), c, bus.Settle{ModelCall: bus.ModelCall{ID: "call-1", Provider: "openai", Model: "of-no-price", Purpose: "turn"}, Usage: bus.Usage{Input: 1}})
	if bus.CodeOf(err) != bus.CodePriceUnknown {
		p.Fatalf("the call was booked: %v", err)
	}
}

// shorten takes the end of a file away.
func (p *patient) shorten(name string, by int64) {
	p.Helper()
	info, err := os.Stat(p.file(name))
	p.check(err)
	p.check(os.Truncate(p.file(name), info.Size()-by))
}

// readOnlyDisk makes the file system under the data directory one that is only read.
func readOnlyDisk(p *patient) {
	p.check(syscall.Mount("", p.dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
}

func (p *patient) issueKey(expires string) {
	p.Helper()
	if out, err := p.command("keys", "issue", "--name", "dash", "--role", "observer", "--expires", expires, "--out", p.TempDir()).CombinedOutput(); err != nil {
		p.Fatalf("%v: %s", err, out)
	}
}

// halfRevoked revokes a key while the database takes no word of it.
func halfRevoked(p *patient) {
	p.issueKey("90d")
	p.sql("CREATE TRIGGER full BEFORE UPDATE ON bus_keys BEGIN SELECT raise(FAIL, 'no space'); END")
	if err := p.command("keys", "revoke", "dash").Run(); err == nil {
		p.Fatal("the key was revoked for good")
	}
}

// metrics is what the gateway shows.
func (p *patient) metrics() string {
	p.Helper()
	info, err := serve.ReadInfo(p.dir)
	p.check(err)
	c, err := net.Dial("tcp", strings.TrimPrefix(info.Gateway, "http://"))
	p.check(err)
	defer c.Close()
	_, err = fmt.Fprint(c, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
	p.check(err)
	var all bytes.Buffer
	_, err = all.ReadFrom(c)
	p.check(err)
	return all.String()
}
