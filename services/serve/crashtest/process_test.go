// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"
)

const (
	ackLimit = time.Minute // without any acknowledgement

	// A kill comes after up to mostAcks acknowledgements of one run and then up to
	// slightly later, but one of earlyKills within whileStart of the start.
	mostAcks   = 80
	slightly   = 4 * time.Millisecond
	earlyKills = 4
	whileStart = 60 * time.Millisecond
)

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
func (d *driver) awaitMoment(t *testing.T, rng *rand.Rand, dm *daemon, most int64) {
	t.Helper()
	acks, early, delay := rng.Int64N(most), rng.IntN(earlyKills) == 0, time.Duration(rng.Int64N(int64(slightly)))
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
