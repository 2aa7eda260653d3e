// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"os"
	"testing"
	"time"
)

// What the room's measurement prints is understood, and what it did not measure is no 0.
func TestGoverned(t *testing.T) {
	const asleep = "goos: linux\nBenchmarkGoverning/asleep-2   \t      60\t1000000000 ns/op\t         0 allocs\t 0.11 cpu-ms/s\n"
	const reading = "BenchmarkGoverning/reading   \t      60\t1000000000 ns/op\t         0 allocs\t 0.31 cpu-ms/s"
	got, err := governed(asleep + reading + "\nPASS\n")
	if err != nil || got["asleep"]["cpu-ms/s"] != 0.11 || got["reading"]["cpu-ms/s"] != 0.31 || got["reading"]["allocs"] != 0 {
		t.Errorf("%v, %v", got, err)
	}
	for _, out := range []string{"", "PASS\n", asleep, reading + "\n", asleep + "BenchmarkGoverning/reading \t 60\t 0 allocs\n"} {
		if got, err := governed(out); err == nil {
			t.Errorf("%q: %v", out, got)
		}
	}
}

// A bar of 0 is one.
func TestNoughtIsABar(t *testing.T) {
	for value, want := range map[float64]string{0: "held", 1: "**missed**", 0.02: "**missed**"} {
		if got := (row{limit: nought, value: value}).verdict(); got != want {
			t.Errorf("%v: %q", value, got)
		}
	}
}

// The account of a process grows with what it does.
func TestEffort(t *testing.T) {
	before, err := effortOf(os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		_ = make([]byte, 1<<20)
		if now, err := effortOf(os.Getpid()); err == nil && now.cpu > before.cpu+1 && now.faults > before.faults {
			return
		}
	}
	t.Errorf("it stays at %+v", before)
}
