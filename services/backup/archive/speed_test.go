// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// TestSpeed holds the copy and the whole backup of a quiescent database against SQLite's own command line, in turns.
func TestSpeed(t *testing.T) {
	long(t)
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Fatal("sqlite3 is the yardstick, and it is not installed: ", err)
	}
	dir := t.TempDir()
	live := filepath.Join(dir, "live.db")
	heavy(t, live, 1<<30)
	s := openStore(t, live, messages)
	info, err := os.Stat(live)
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "target")
	yard, copies, wholes := []float64{}, []float64{}, []float64{}
	for range 5 {
		yard = append(yard, timed(t, target, func() error { return exec.Command("sqlite3", live, ".backup "+target).Run() }))
		copies = append(copies, timed(t, target, func() error { return copySynced(t.Context(), s, target) }))
		wholes = append(wholes, timed(t, target, func() error { return whole(t.Context(), s, dir, target) }))
	}
	mega := float64(info.Size()) / 1e6
	for name, seconds := range map[string][]float64{"sqlite3 .backup": yard, "copy": copies, "whole backup": wholes} {
		t.Logf("%-16s %6.2f s %6.0f MB/s (median of %.2f)", name, median(seconds), mega/median(seconds), seconds)
	}
	t.Logf("%.0f MB; copy %.2f, whole %.2f of the yardstick's speed", mega, median(yard)/median(copies), median(yard)/median(wholes))
	if median(yard)/median(copies) < 0.8 {
		t.Error("the copy has less than 0.8 of the yardstick's speed")
	}
	if median(yard)/median(wholes) < 0.3 {
		t.Error("the whole backup has less than 0.3 of the yardstick's speed")
	}
}

// copySynced is a copy that lasts, as the yardstick's does.
func copySynced(ctx context.Context, s *sqlite.Store, path string) error {
	if err := s.Copy(ctx, path, nil); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), sqlite.SyncDir(filepath.Dir(path)))
}

// timed runs work on a system that has nothing left to write, and removes what it made.
func timed(t *testing.T, made string, work func() error) float64 {
	t.Helper()
	if err := exec.Command("sync").Run(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := work(); err != nil {
		t.Fatal(err)
	}
	seconds := time.Since(begin).Seconds()
	if err := os.Remove(made); err != nil {
		t.Fatal(err)
	}
	return seconds
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// TestStall backs up 100 MB while 150 writes a second go on, and times each of them.
func TestStall(t *testing.T) {
	long(t)
	dir := t.TempDir()
	live := filepath.Join(dir, "live.db")
	heavy(t, live, 100<<20)
	s := openStore(t, live, messages)
	var worst atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int)
	go func() { done <- writeSteadily(ctx, t, s, &worst) }()
	path := filepath.Join(dir, "backup")
	for i := range 5 {
		worst.Store(0)
		time.Sleep(time.Second)
		quiet := time.Duration(worst.Swap(0))
		begin := time.Now()
		var stall time.Duration
		said, last := "", begin
		err := phases(t.Context(), s, dir, path, func(phase string) {
			slowest := time.Duration(worst.Swap(0))
			stall = max(stall, slowest)
			said += fmt.Sprintf("; %s %d ms, slowest write %.1f ms", phase, time.Since(last).Milliseconds(), ms(slowest))
			last = time.Now()
		})
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		t.Logf("backup %d: %d ms; before, slowest write %.1f ms%s", i, took.Milliseconds(), ms(quiet), said)
		if took > 2*time.Second || stall > 100*time.Millisecond {
			t.Error("more than 2 s or 100 ms")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	t.Logf("%d writes", <-done)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// writeSteadily writes 150 times a second and notes how long the slowest took.
func writeSteadily(ctx context.Context, t *testing.T, s *sqlite.Store, worst *atomic.Int64) (n int) {
	const pause = time.Second / 150
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return n
		case <-tick.C:
		}
		begin := time.Now()
		n++
		err := s.Write(context.Background(), func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO message (id, session, text) VALUES (?, ?, ?)`, fmt.Sprintf("z%016x", n), "now", "a text of the usual length, or somewhat more")
			return err
		})
		if err != nil {
			t.Error(err)
			return n
		}
		if took := int64(time.Since(begin)); took > worst.Load() {
			worst.Store(took)
		}
	}
}
