// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"sync"
	"testing"
)

func TestLockIsHeldByOne(t *testing.T) {
	dir := t.TempDir()
	first, err := takeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if running, err := Running(dir); err != nil || !running {
		t.Errorf("running: %v, %v", running, err)
	}
	if err := writeInfo(dir, Info{PID: 4711}); err != nil {
		t.Fatal(err)
	}
	var locked *LockedError
	if _, err := takeLock(dir); !errors.As(err, &locked) || locked.PID != 4711 || ExitCode(err) != ExitLocked {
		t.Errorf("second: %v", err)
	}
	if err := first.release(); err != nil {
		t.Fatal(err)
	}
	if running, err := Running(dir); err != nil || running {
		t.Errorf("after release: %v, %v", running, err)
	}
}

// Commands that ask whether a daemon runs do not keep one from starting.
func TestAskingDoesNotKeepADaemonOut(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = Running(dir)
			}
		}
	})
	for range 20 {
		l, err := takeLock(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.release(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	asking.Wait()
}

func TestInfoComesAndGoes(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadInfo(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before: %v", err)
	}
	want := Info{PID: 1, Version: "v", Bus: "nats://127.0.0.1:1", Gateway: "http://127.0.0.1:2"}
	if err := writeInfo(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadInfo(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if info, err := os.Stat(infoPath(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}
	if err := errors.Join(removeInfo(dir), removeInfo(dir)); err != nil {
		t.Error(err)
	}
}
