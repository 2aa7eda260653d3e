// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/serve"
	"github.com/nats-io/nats.go"
)

// signal sends the running daemon a signal.
func (p *patient) signal(s syscall.Signal) {
	p.Helper()
	info, err := serve.ReadInfo(p.dir)
	p.check(err)
	p.check(syscall.Kill(info.PID, s))
}

// freeze stops the daemon's process, and waits until all of it stands still.
func freeze(p *patient) {
	p.signal(syscall.SIGSTOP)
	p.Cleanup(func() { p.signal(syscall.SIGCONT) })
	info, err := serve.ReadInfo(p.dir)
	p.check(err)
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", info.PID))
	p.check(err)
	for _, name := range threads {
		var state string
		bustest.Eventually(p, "the daemon stands still", func() bool {
			stat, err := os.ReadFile(name)
			_, state, _ = strings.Cut(string(stat), ") ")
			return err != nil || strings.HasPrefix(state, "T")
		}, func() any { return state })
	}
}

// takePort holds a port of this machine.
func takePort(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestDoctorFindsABrokenDaemon(t *testing.T) {
	t.Parallel()
	taken := takePort(t)
	for _, b := range []breakage{
		{name: "it was killed", id: reachID, level: bus.LevelWarn, seen: "ended without a goodbye", fix: "blufio serve",
			sick: (*patient).crash},
		{name: "it hangs", up: true, id: reachID, seen: "does not answer", fix: "restart it", code: exitFailed,
			sick: freeze},
		{name: "its key was exchanged", up: true, id: reachID, seen: "refuses the device key", code: exitDenied,
			sick: func(p *patient) {
				other := newPatient(p.T)
				other.runOnce()
				key, err := os.ReadFile(other.file("device.nk"))
				p.check(err)
				p.write(p.file("device.nk"), string(key))
			}},
		{name: "the gateway's port is taken", set: []string{"BLUFIO_GATEWAY__LISTEN=127.0.0.1:0"}, id: "BLF-RUN-002", seen: "another program listens", fix: "gateway.listen",
			sick: func(p *patient) { p.env = append(p.env, "BLUFIO_GATEWAY__LISTEN="+taken) }},
		{name: "the bus's port is taken", id: "BLF-RUN-002", seen: "another program listens", fix: "bus.listen",
			sick: func(p *patient) { p.env = append(p.env, "BLUFIO_BUS__LISTEN="+taken) }},
		{name: "the gateway has no place left", up: true, set: []string{"BLUFIO_GATEWAY__MAX_CONNECTIONS=1", "BLUFIO_GATEWAY__HEADER_TIMEOUT=1m"},
			id: "BLF-GW-001", seen: "does not answer", fix: "log", sick: occupyGateway},
		{name: "a certificate that ends", up: true, id: "BLF-GW-002", level: bus.LevelWarn, seen: "ends in 2 days", fix: "renew", pre: certify(60 * time.Hour)},
		{name: "a certificate that has ended", up: true, id: "BLF-GW-002", seen: "has ended on", fix: "renew", pre: certify(-time.Minute)},
		{name: "a private key that everybody may read", up: true, id: "BLF-GW-002", level: bus.LevelWarn, seen: "may read the gateway's private key", fix: "chmod o-rwx",
			pre: and(certify(1000*time.Hour), func(p *patient) { p.check(os.Chmod(p.toml+".key", 0o604)) })},
		{name: "a certificate that is gone", up: true, id: "BLF-GW-002", level: bus.LevelWarn, seen: "no such file", fix: "still in use", pre: certify(1000 * time.Hour),
			sick: func(p *patient) { p.check(os.Remove(p.toml + ".crt")) }},
		{name: "a certificate that is gone before the start", id: "BLF-CFG-001", seen: "gateway.tls_cert", fix: "PEM",
			sick: and(certify(1000*time.Hour), func(p *patient) { p.check(os.Remove(p.toml + ".crt")) })},
		{name: "a certificate of the next start", up: true, id: "BLF-CFG-001", seen: "gateway.tls_cert", fix: "PEM", also: "BLF-CFG-002",
			sick: and(certify(1000*time.Hour), func(p *patient) { p.check(os.Remove(p.toml + ".crt")) })},
		{name: "another file, while the daemon runs", up: true, id: "BLF-CFG-005", seen: "other.toml:2:1: unknown key \"gateway.lissten\"; in force is ", fix: "did you mean",
			sick: func(p *patient) { p.other(badTOML) }},
		{name: "another file, which is fine", up: true, id: "BLF-CFG-005", level: bus.LevelInfo, seen: "other.toml is valid, and not in force: that is ", fix: "--config",
			sick: func(p *patient) { p.other("[agent]\nname = \"x\"\n") }},
		{name: "another file without a key", up: true, id: "BLF-CFG-005", seen: "needs a key", fix: "set-secret openai.api_key",
			sick: func(p *patient) { p.other("[agent]\nprovider = \"openai\"\n") }},
		{name: "another file with a secret", up: true, id: "BLF-CFG-005", level: bus.LevelWarn, seen: "other.toml:2:1: \"openai.api_key\" is a secret", fix: "set-secret openai.api_key",
			sick: func(p *patient) { p.other("[openai]\napi_key = \"sk-nobody-at-all\"\n") }},
		{name: "little memory", up: true, id: "BLF-SYS-002", seen: "MiB are taken", fix: "limit_mb",
			set: []string{"BLUFIO_MEMORY__LIMIT_MB=32", "BLUFIO_GATEWAY__MAX_BODY_BYTES=1024", "BLUFIO_GATEWAY__MAX_WAITERS=1", "BLUFIO_GATEWAY__MAX_STREAMS=1", "BLUFIO_GATEWAY__MAX_CONNECTIONS=20", "BLUFIO_AGENT__PICTURES_MB=1", "BLUFIO_AGENT__MATERIAL_MB=1", "BLUFIO_TOOLS__MAX_FETCHES=1",
				"BLUFIO_RECALL__INDEX_MB=1", "BLUFIO_MEMORY__DATABASE_CACHE_KB=512"}},
		{name: "a database that takes no writes", up: true, id: "BLF-DB-002", seen: "no space", fix: "log",
			sick: func(p *patient) {
				p.sql("CREATE TRIGGER full BEFORE INSERT ON doctor_probe BEGIN SELECT raise(FAIL, 'no space'); END")
			}},
		{name: "a damaged page while the daemon runs", up: true, args: []string{"--deep"}, id: "BLF-DB-003", seen: "damaged", fix: "restore a backup",
			pre: (*patient).runOnce, sick: func(p *patient) {
				garbage := []byte(strings.Repeat("damage", 100))
				p.overwrite("blufio.db", p.pageOf("telegram_sent_at"), garbage) // nobody writes there meanwhile
			}},
		{name: "a damaged log", id: "BLF-DB-001", seen: "blufio.db-wal is damaged", fix: "move the log away",
			sick: func(p *patient) { p.crash(); p.overwrite("blufio.db-wal", 0, []byte("damaged")) }},
		{name: "a part that came back", up: true, id: "BLF-ROOM-001", level: bus.LevelWarn, seen: "started again after a failure: relay", fix: "log", sick: failRelay},
		{name: "few connections left", up: true, set: []string{"BLUFIO_BUS__MAX_CONNECTIONS=32"}, id: "BLF-BUS-002", level: bus.LevelWarn,
			seen: "of 32 connections are in use", fix: "bus.max_connections", sick: crowdBus},
		{name: "few files", up: true, args: []string{"--deep"}, id: "BLF-SYS-004", level: bus.LevelWarn, seen: "of 200 are open", fix: "LimitNOFILE",
			pre: func(p *patient) { p.ulim = "ulimit -n 200" }},
		{name: "a full disk", up: true, id: "BLF-FILE-003", seen: "are free", fix: "free some disk space", pre: smallDisk, sick: fillDisk},
	} {
		b.run(t)
	}
}

// failRelay takes the relay's table away for as long as it needs to notice.
func failRelay(p *patient) {
	p.sql("ALTER TABLE event RENAME TO gone")
	bustest.Eventually(p, "the relay fails", func() bool { return strings.Contains(p.log.String(), "room failed") }, func() any { return &p.log })
	p.sql("ALTER TABLE gone RENAME TO event")
	// It exits 0 when all is well again.
	bustest.Eventually(p, "the relay comes back", func() bool { return p.command("status").Run() == nil }, func() any { return &p.log })
}

// crowdBus takes all of the bus's connections but two, one of which is doctor's.
func crowdBus(p *patient) {
	for _, nc := range p.takeConnections()[:2] {
		nc.Close()
	}
}

// takeConnections takes all that the bus leaves to others.
func (p *patient) takeConnections() (all []*nats.Conn) {
	p.Helper()
	info, err := serve.ReadInfo(p.dir)
	p.check(err)
	device, err := embedded.LoadDevice(p.dir)
	p.check(err)
	for {
		nc, err := nats.Connect(info.Bus, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox), nats.NoReconnect())
		if err != nil {
			break // there is no place left
		}
		p.Cleanup(nc.Close)
		all = append(all, nc)
	}
	if len(all) < 10 {
		p.Fatalf("the house leaves only %d of 32 connections to others", len(all))
	}
	return all
}

// other has doctor be told of another file than the daemon's.
func (p *patient) other(text string) {
	p.Helper()
	path := filepath.Join(filepath.Dir(p.toml), "other.toml")
	p.write(path, text)
	p.env = append(slices.Clone(p.env), "BLUFIO_CONFIG="+path) // the last one counts
}

func occupyGateway(p *patient) {
	_, err := p.gateway().Write([]byte("GET /health HTTP/1.1\r\n")) // and never to its end
	p.check(err)
}

// certify makes a certificate that ends in a while, and has the gateway use it.
func certify(ends time.Duration) func(*patient) {
	return func(p *patient) { p.certify(time.Now().Add(ends)) }
}

func (p *patient) certify(ends time.Time) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: ends,
		DNSNames: []string{"localhost"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	p.check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	p.check(err)
	p.write(p.toml+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	p.write(p.toml+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	p.write(p.toml, fmt.Sprintf("[gateway]\ntls_cert = %q\ntls_key = %q\n", p.toml+".crt", p.toml+".key"))
}

// pageOf is where in the file the root of a table or an index is.
func (p *patient) pageOf(name string) int64 {
	p.Helper()
	var page, size int64
	p.query("SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = ?", name)(&page, &size)
	return (page - 1) * size
}

// smallDisk puts a small file system under the data directory. That needs root.
func smallDisk(p *patient) {
	p.check(os.MkdirAll(p.dir, 0o700))
	err := syscall.Mount("tmpfs", p.dir, "tmpfs", 0, "size=400m,mode=0700")
	if err == syscall.EPERM && os.Getenv("CI") != "true" {
		p.Skip("a small disk cannot be mounted: run as root (in CI this would fail)")
	}
	p.check(err)
	p.Cleanup(func() { p.check(syscall.Unmount(p.dir, syscall.MNT_DETACH)) })
}

// fillDisk leaves no block free, without touching memory for it.
func fillDisk(p *patient) {
	f, err := os.Create(p.file("filler"))
	p.check(err)
	p.Cleanup(func() { p.check(os.Remove(p.file("filler"))) }) // the daemon has something to write at its end
	p.check(f.Chmod(0o600))
	for size := int64(512 << 20); size >= 4096; size /= 2 {
		for off := int64(0); ; {
			info, err := f.Stat()
			p.check(err)
			off = info.Size()
			if err := syscall.Fallocate(int(f.Fd()), 0, off, size); err != nil {
				break
			}
		}
	}
	p.check(f.Close())
}

func TestDoctorFindsWhatWaits(t *testing.T) {
	t.Parallel()
	hour := time.Now().Add(-time.Hour).UnixMilli() // on a busy machine it becomes more, and what is looked for begins with 6
	session := "INSERT INTO session (id, channel, owner, name, created_at, last_at) VALUES (7, '%s', 'owner', 'main', 0, 0);"
	message := "INSERT INTO message (seq, id, session_id, text, state, received_at, finished_at, reply) VALUES (7, 'm7', 7, 'hello', '%s', %d, %v, 'oh');"
	poor := vendors(t, func(v *fakellm.Vendors) {
		v.OpenAI.Always(fakellm.Fails(429, "insufficient_quota", "You exceeded your current quota"))
	})
	ill := vendors(t, func(v *fakellm.Vendors) { v.OpenAI.Always(fakellm.Fails(500, "server_error", "oh")) })
	say := func(p *patient) { _ = p.command("send", "hello").Run() } // it is not answered
	full := vendors(t, func(v *fakellm.Vendors) { v.OpenAI.Latency(time.Minute) })
	hanging := vendors(t, func(v *fakellm.Vendors) { v.OpenAI.Latency(time.Minute) })
	before := func(statement string, args ...any) func(*patient) {
		return func(p *patient) { p.runOnce(); p.sql(fmt.Sprintf(statement, args...)) }
	}
	today := time.Now().Format(time.DateOnly)
	for _, b := range []breakage{
		{name: "a message", up: true, set: append(openAI(hanging.OpenAI.URL()), "BLUFIO_DAEMON__DRAIN_TIMEOUT=5s"), pre: before(session+message, "terminal", "queued", hour, "NULL"),
			sick: func(p *patient) { p.Cleanup(hanging.OpenAI.Die) }, // so that the daemon need not wait for it
			id:   "BLF-QUEUE-001", level: bus.LevelWarn, seen: "1 of at most 10000 messages wait, the oldest for 6", fix: "model"},
		{name: "as many messages as there may be", up: true, set: append(openAI(full.OpenAI.URL()), "BLUFIO_DAEMON__DRAIN_TIMEOUT=5s", "BLUFIO_AGENT__MAX_QUEUE=1"),
			pre:  before(session+message, "terminal", "queued", time.Now().UnixMilli(), "NULL"),
			sick: func(p *patient) { p.Cleanup(full.OpenAI.Die) },
			id:   "BLF-QUEUE-001", seen: "1 of at most 1 messages wait", fix: "agent.max_queue"},
		{name: "an account without credit", up: true, set: openAI(poor.OpenAI.URL()), sick: say, id: "BLF-LLM-001", seen: "no credit left", fix: "add credit"},
		{name: "a provider that is left out", up: true, set: append(openAI(ill.OpenAI.URL()), "BLUFIO_AGENT__BREAKER_FAILURES=1", "BLUFIO_AGENT__BREAKER_PAUSE=1h"), sick: say,
			id: "BLF-LLM-001", level: bus.LevelWarn, seen: "answers now; openai does not answer since", fix: "tried again"},
		{name: "a reply", up: true, pre: before(session+message+"INSERT INTO outbox (seq, session_id, created_at) VALUES (7, 7, %d)", "telegram", "answered", hour, hour, hour),
			id: "BLF-QUEUE-002", level: bus.LevelWarn, seen: "1 of at most 20000 replies wait, the oldest for 6", fix: "channels"},
		{name: "a dead letter", up: true, pre: before(session+message, "terminal", "dead", hour, hour),
			id: "BLF-QUEUE-003", level: bus.LevelWarn, seen: "messages 1, replies 0; the oldest is 6", fix: "blufio queue"},
		{name: "a budget that is spent", up: true, pre: before("INSERT OR REPLACE INTO cost_period (period, start, spent) VALUES ('day', '%s', 5000000)", today),
			id: "BLF-COST-001", seen: "$5.00 of $5.00 today", fix: "daily_usd"},
		{name: "a budget that is nearly spent", up: true, pre: before("INSERT OR REPLACE INTO cost_period (period, start, spent) VALUES ('day', '%s', 4200000)", today),
			id: "BLF-COST-001", level: bus.LevelWarn, seen: "$4.20 of $5.00 today", fix: "daily_usd"},
		{name: "the kill switch", up: true, sick: func(p *patient) { p.check(p.command("cost", "stop", "--reason", "enough").Run()) },
			id: "BLF-COST-002", level: bus.LevelWarn, seen: "enough", fix: "cost resume"},
	} {
		b.run(t)
	}
}

// While somebody else is being examined, doctor waits for its place.
func TestDoctorsSideBySide(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.start()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	type outcome struct {
		code   int
		report bus.DoctorReport
	}
	outcomes := make(chan outcome)
	const many = 4
	for range many {
		go func() {
			code, report := p.doctor()
			outcomes <- outcome{code, report}
		}()
	}
	for range many {
		select {
		case o := <-outcomes:
			if o.code != exitOK {
				t.Errorf("exit code %d: %+v", o.code, o.report)
			}
		case <-ctx.Done():
			t.Fatal("not all were examined")
		}
	}
}

// Findings are shown as they come; who is interrupted has made no check.
func TestDoctorShowsFindingsAsTheyCome(t *testing.T) {
	t.Parallel()
	v := vendors(t, func(v *fakellm.Vendors) { v.OpenAI.SlowListing(time.Minute) })
	p := newPatient(t, openAI(v.OpenAI.URL())...)
	p.start()
	p.untilShown(func(cmd *exec.Cmd) { p.check(cmd.Process.Signal(syscall.SIGINT)) }, exitInterrupted, "")
}

// A daemon that dies while it is examined is a finding.
func TestDoctorOfADaemonThatDies(t *testing.T) {
	t.Parallel()
	v := vendors(t, func(v *fakellm.Vendors) { v.OpenAI.SlowListing(time.Minute) })
	p := newPatient(t, openAI(v.OpenAI.URL())...)
	daemon := p.daemon()
	p.untilShown(func(*exec.Cmd) { p.check(daemon.Process.Kill()) }, exitFailed, "the daemon did not make its checks")
	_ = daemon.Wait() // killed
}

// untilShown runs doctor until a check that a slow one does not hold up is shown, does
// something then, and wants an end.
func (p *patient) untilShown(then func(*exec.Cmd), code int, says string) {
	p.Helper()
	cmd := p.command("doctor", "--timeout", "50s")
	out, err := cmd.StdoutPipe()
	p.check(err)
	p.check(cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "ok   BLF-DB-002 ") {
	}
	then(cmd)
	var rest strings.Builder
	for lines.Scan() {
		rest.WriteString(lines.Text() + "\n")
	}
	_ = cmd.Wait() // its code is looked at
	if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(rest.String(), says) || strings.Contains(rest.String(), "BLF-LLM-001") {
		p.Errorf("exit code %d, want %d\n%s", got, code, &rest)
	}
}
