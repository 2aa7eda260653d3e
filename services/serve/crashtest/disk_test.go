// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	diskSize  = "size=24m"
	backLimit = 30 * time.Second // to take messages again once there is space
)

// smallDisk puts a small file system under the data directory. That needs root.
func smallDisk(t *testing.T, p plan) {
	t.Helper()
	if err := os.Mkdir(p.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", p.data(), "tmpfs", 0, diskSize+",mode=0700")
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" {
		t.Skip("a small disk cannot be mounted: run as root (in CI this would fail)")
	}
	if err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(p.data(), syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fill takes what space there is.
func fill(t *testing.T, p plan) {
	t.Helper()
	f, err := os.OpenFile(filler(p), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			return
		}
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); len(block) > 0; block = block[:len(block)/2] {
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func filler(p plan) string { return filepath.Join(p.data(), "filler") }

// TestDiskFull: while the disk is full, messages are refused for now and with the
// reason; once there is space the daemon goes on by itself, and what it had
// accepted is answered.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	m := newModel(t)
	p := newPlan(t, m)
	smallDisk(t, p)
	d := start(t, p, build(t, shipped))
	d.awaitHealthy(t)
	tr := talk(t, p)
	tr.await(t, 40)

	probes, refused := 0, 0
	attempt := func() error {
		probes++
		_, err := probe(t, p, fmt.Sprint(probes))
		return err
	}
	until(t, "a message is refused", ackLimit, func() bool { fill(t, p); return attempt() != nil })
	for end := time.Now().Add(longer(3*time.Second, 30*time.Second)); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		fill(t, p) // what the daemon gave back
		var e *bus.Error
		switch err := attempt(); {
		case err == nil: // it found a place within its files
		case !errors.As(err, &e) || e.Code != bus.CodeUnavailable || e.RetryAfter == 0:
			t.Errorf("on a full disk a message is refused with %v", err)
		default:
			refused++
		}
	}
	if refused == 0 {
		t.Error("no message was refused: this run has proved nothing")
	}
	if err := os.Remove(filler(p)); err != nil {
		t.Fatal(err)
	}
	back := until(t, "messages are taken again", backLimit, func() bool { return attempt() == nil })
	tr.await(t, 40)
	healthy := until(t, "it is healthy", backLimit, func() bool { return d.isHealthy(t.Context()) })
	tr.finish(t)

	found := &findings{speakers: speakers, settleLimit: settleLimit, mayFail: true, strained: true}
	judge(t, p, d, m, found, nil)
	found.report(t)
	t.Logf("%d of %d probes refused; taken again %s after there was space, healthy %s later; %d acknowledged, %d answered, %d told why not",
		refused, probes, back.Round(time.Millisecond), healthy.Round(time.Millisecond), found.acknowledged, found.answered, found.failed)
}
