// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

const (
	defaultKills = 16
	ackLimit     = time.Minute // without any acknowledgement

	// A kill comes after up to mostAcks acknowledgements of one run and then up to
	// slightly later, but one of earlyKills within whileStart of the start.
	mostAcks   = 200
	slightly   = 4 * time.Millisecond
	earlyKills = 4
	whileStart = 60 * time.Millisecond
)

func TestKill(t *testing.T) {
	found := crash(t, build(t), number(t, "SOAK_KILLS", defaultKills))
	for _, problem := range found.problems {
		t.Error(problem)
	}
	if more := found.count - len(found.problems); more > 0 {
		t.Errorf("and %d more", more)
	}
}

// TestKillTestSeesALostCommit: with a daemon that acknowledges before the inbox
// is committed, the test must find lost messages.
func TestKillTestSeesALostCommit(t *testing.T) {
	if os.Getenv("SOAK_KILLS") == "" {
		t.Skip("runs with SOAK_KILLS: it builds a second binary")
	}
	found := crash(t, build(t, "mutate_inbox"), defaultKills)
	if found.lost == 0 {
		t.Errorf("no message was lost; the kill test would not notice a missing commit")
	}
	t.Logf("the mutant lost %d of %d messages; %d problems in all", found.lost, found.acknowledged, found.count)
}

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number above zero", name, text)
	}
	return n
}

// crash is the whole story of one data directory.
func crash(t *testing.T, binary string, kills int) *findings {
	t.Helper()
	seed := uint64(number(t, "CRASH_SEED", int(rand.Uint32())+1))
	t.Logf("CRASH_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	p := newPlan(t)

	d := start(t, p, binary)
	d.awaitHealthy(t) // so that there is a database to look into
	drv := startDriver(t, p)
	var healthy []time.Duration
	var cuts []cut
	for range kills {
		drv.awaitMoment(t, rng, d)
		d.kill(t)
		cuts = append(cuts, readCut(t, p))
		if h := d.healthy.Load(); h > 0 {
			healthy = append(healthy, time.Duration(h))
		}
		d = start(t, p, binary)
	}
	d.awaitHealthy(t)
	drv.finish(t)
	return judge(t, p, d, kills, cuts, healthy)
}

// judge lets the daemon settle and compares what it made of the messages with
// the driver's list.
func judge(t *testing.T, p plan, d *daemon, kills int, cuts []cut, healthy []time.Duration) *findings {
	t.Helper()
	found := &findings{kills: kills}
	last := p.settle(t, found)
	found.histories(t, p)
	found.status(t, p, cuts)
	d.stop(t)
	found.books(t, p)
	found.stream(t, p, last)
	for _, line := range p.complaints() {
		found.problem("the daemon's log: %s", line)
	}
	t.Logf("%d kills, %d acknowledged, %d answered, %d interrupted, %d lost, %d dead; start to healthy %s (median of %d)",
		kills, found.acknowledged, found.answered, found.interrupted, found.lost, found.dead, median(healthy), len(healthy))
	return found
}

// driver is the process that speaks.
type driver struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	acked  atomic.Int64
	moved  chan struct{} // capacity 1: acked has grown
	exited chan struct{} // closed when the process is gone; err is then set
	err    error
}

func startDriver(t *testing.T, p plan) *driver {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{cmd: exec.Command(self), moved: make(chan struct{}, 1), exited: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), driverDir+"="+p.dir)
	d.cmd.Stderr = os.Stderr
	stdin, err := d.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.stdin = stdin
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go d.count(stdout)
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // it may be gone
		<-d.exited
	})
	return d
}

// count counts the driver's acknowledgements until it ends.
func (d *driver) count(stdout io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := stdout.Read(buf)
		d.acked.Add(int64(n))
		select {
		case d.moved <- struct{}{}:
		default:
		}
		if err != nil {
			break
		}
	}
	d.err = d.cmd.Wait()
	close(d.exited)
}

// awaitMoment returns at a random moment: shortly after some acknowledgements,
// or early in the daemon's start.
func (d *driver) awaitMoment(t *testing.T, rng *rand.Rand, dm *daemon) {
	t.Helper()
	acks, early, delay := rng.Int64N(mostAcks), rng.IntN(earlyKills) == 0, time.Duration(rng.Int64N(int64(slightly)))
	if early {
		time.Sleep(time.Until(dm.started.Add(time.Duration(rng.Int64N(int64(whileStart))))))
		return
	}
	limit := time.After(ackLimit)
	for target := d.acked.Load() + acks; d.acked.Load() < target; {
		select {
		case <-d.moved:
		case <-d.exited:
			t.Fatalf("the driver gave up: %v", d.err)
		case <-dm.exited:
			t.Fatalf("the daemon ended by itself: %v\n%s", dm.err, dm.logTail())
		case <-limit:
			t.Fatalf("too few acknowledgements in %s\n%s", ackLimit, dm.logTail())
		}
	}
	time.Sleep(delay) // the moment itself, not a wait for something
}

// finish lets the driver end what it began.
func (d *driver) finish(t *testing.T) {
	t.Helper()
	if err := d.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.exited:
	case <-time.After(2 * ackLimit):
		t.Fatal("the driver does not end")
	}
	if d.err != nil {
		t.Fatalf("driver: %v", d.err)
	}
}
