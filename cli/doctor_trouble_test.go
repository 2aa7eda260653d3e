// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/serve"
	"github.com/nats-io/nats.go"
)

func TestDoctorFindsTrouble(t *testing.T) {
	t.Parallel()
	for _, b := range []breakage{
		{name: "a part that does not come back", up: true, sick: endRelay, id: "BLF-ROOM-001", seen: "relay: ", fix: "log", also: "BLF-BUS-003"},
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
		{name: "a key that cannot be taken back for good", up: true, sick: halfRevoked, id: "BLF-KEY-001", seen: "no space", fix: "tried again until it is stored"},
		{name: "memory that grows", up: true, args: []string{"--deep"},
			set: []string{"BLUFIO_GATEWAY__MAX_BODY_BYTES=1048576", "BLUFIO_GATEWAY__MAX_BODIES=60", "BLUFIO_GATEWAY__READ_TIMEOUT=10m", "BLUFIO_MEMORY__LIMIT_MB=3000"},
			pre: func(p *patient) { p.runOnce(); p.weighed() }, sick: fatten,
			id: "BLF-SYS-008", level: bus.LevelWarn, seen: "of its own", fix: "bugreport"},
		{name: "no connection left", up: true, set: []string{"BLUFIO_BUS__MAX_CONNECTIONS=32"}, sick: func(p *patient) { p.takeConnections() },
			id: reachID, seen: "has no connection left", fix: "bus.max_connections", code: exitFailed},
	} {
		b.run(t)
	}
}

// endRelay takes the relay's table away until the test ends.
func endRelay(p *patient) {
	p.sql("ALTER TABLE event RENAME TO gone")
	p.Cleanup(func() { p.sql("ALTER TABLE gone RENAME TO event") })
	bustest.Eventually(p, "the relay fails", func() bool { return strings.Contains(p.log.String(), "room failed") }, func() any { return &p.log })
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
	bustest.Eventually(p, "it is cut off", func() bool {
		for range 20 {
			_, err := bus.JobGet.Ask(p.Context(), asking, bus.JobQuery{ID: job.ID}) // all findings, each time
			p.check(err)
		}
		return strings.Contains(p.metrics(), "\nblufio_bus_slow_consumers_total 1\n")
	})
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

// A key that lives without its context is said to live, and how it is taken back.
func TestKeyWithoutItsContext(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.start()
	const longest = 4095 // bytes of a path: the seed's fits, the context's does not
	out := p.TempDir()
	for left := longest - len(out) - len("/dash.nk"); left > 0; left = longest - len(out) - len("/dash.nk") {
		n := min(left-1, 200)
		if left-1-n == 1 {
			n-- // a name cannot be empty
		}
		out += "/" + strings.Repeat("d", n)
	}
	p.check(os.MkdirAll(out, 0o700))
	cmd := p.command("keys", "issue", "--name", "dash", "--role", "observer", "--out", out)
	said, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(said), "the key dash lives") || !strings.Contains(string(said), "`blufio keys revoke dash`") {
		t.Errorf("exit code %d: %s", cmd.ProcessState.ExitCode(), said)
	}
	if list, err := p.command("keys", "list").Output(); err != nil || !strings.Contains(string(list), "dash") {
		t.Errorf("%v: %s", err, list)
	}
	p.check(p.command("keys", "revoke", "dash").Run())
}

// halfRevoked revokes a key while the database takes no word of it.
func halfRevoked(p *patient) {
	p.issueKey("90d")
	p.sql("CREATE TRIGGER full BEFORE UPDATE ON bus_keys BEGIN SELECT raise(FAIL, 'no space'); END")
	if err := p.command("keys", "revoke", "dash").Run(); err == nil {
		p.Fatal("the key was revoked for good")
	}
}

// weighed writes three days on record, of a daemon that was light and became heavy.
func (p *patient) weighed() {
	p.Helper()
	p.sql(fmt.Sprintf(`INSERT INTO memory_hour WITH RECURSIVE h(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM h WHERE n < 72)
		SELECT (unixepoch() - n * 3600) * 1000, '%s', 0, 1, 1, 1, iif(n < 12, 64, 2) << 20, 1, 1, 1, 1, 1 FROM h`, buildInfo().Version))
}

// fatten has the daemon hold bodies of a MiB, of which the end never comes.
func fatten(p *patient) {
	token, err := p.command("token", "issue").Output()
	p.check(err)
	const size = 1 << 20
	for range 40 {
		c := p.gateway()
		_, err = fmt.Fprintf(c, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			strings.TrimSpace(string(token)), size, strings.Repeat(" ", size-1))
		p.check(err)
	}
	heavy := regexp.MustCompile(`(?m)^blufio_memory_anonymous_bytes [4-9]\.\d+e\+07$|^blufio_memory_anonymous_bytes \d\.\d+e\+08$`)
	bustest.Eventually(p, "the daemon is heavy", func() bool { return heavy.MatchString(p.metrics()) })
}

// gateway is a connection to it.
func (p *patient) gateway() net.Conn {
	p.Helper()
	info, err := serve.ReadInfo(p.dir)
	p.check(err)
	c, err := net.Dial("tcp", strings.TrimPrefix(info.Gateway, "http://"))
	p.check(err)
	p.Cleanup(func() { _ = c.Close() })
	return c
}

// metrics is what the gateway shows.
func (p *patient) metrics() string {
	p.Helper()
	c := p.gateway()
	_, err := fmt.Fprint(c, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
	p.check(err)
	var all bytes.Buffer
	_, err = all.ReadFrom(c)
	p.check(errors.Join(err, c.Close()))
	return all.String()
}

// Who may not look into the directory is told so, and not also that the database does not
// open.
func TestDoctorOfAnother(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.runOnce()
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	self, err := os.Executable()
	p.check(err)
	for dir := filepath.Dir(p.toml); dir != os.TempDir(); dir = filepath.Dir(dir) {
		p.check(os.Chmod(dir, 0o755))
	}
	program := filepath.Join(filepath.Dir(p.toml), "program")
	if os.Link(self, program) != nil { // another file system
		p.check(exec.Command("cp", self, program).Run())
	}
	p.check(os.Chmod(program, 0o755))
	cmd := p.command("doctor", "--json")
	cmd.Path, cmd.SysProcAttr = program, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, _ := cmd.Output()
	report := decodeAs[bus.DoctorReport](t, out)
	for _, f := range report.Findings {
		if bad := f.Level == bus.LevelFail || f.Level == bus.LevelWarn; bad && f.ID != "BLF-FILE-001" && f.ID != reachID && f.ID != "BLF-CFG-001" {
			t.Errorf("%s %s: %s", f.ID, f.Level, f.Seen)
		}
	}
	if code := cmd.ProcessState.ExitCode(); code != exitDenied || findingOf(report, "BLF-FILE-001").Level != bus.LevelFail {
		t.Errorf("exit code %d, %+v", code, findingOf(report, "BLF-FILE-001"))
	}
}
