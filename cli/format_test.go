// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 35861299: "34.2 MiB", 200 << 20: "200.0 MiB",
		1<<20 - 1: "1.0 MiB", 3 << 30: "3.0 GiB", 5 << 50: "5120.0 TiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", time.Minute: "1m", 725 * time.Second: "12m 5s",
		time.Hour: "1h", 90 * time.Minute: "1h 30m", 76 * time.Hour: "3d 4h", 240 * time.Hour: "10d",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		-time.Hour: "just now", 0: "just now", 5 * time.Second: "5s ago", 200 * time.Second: "3m ago",
		25 * time.Hour: "1d ago", 3 * time.Hour: "3h ago",
	} {
		then := now.Add(-d)
		if got := ago(&then, now); got != want {
			t.Errorf("ago(%s) = %q, want %q", d, got, want)
		}
	}
	if got := ago(nil, now); got != "never" {
		t.Errorf("ago(nil) = %q", got)
	}
}

func TestSpent(t *testing.T) {
	limit, none := bus.USD(5), bus.MicroUSD(0)
	for _, c := range []struct {
		m     bus.MicroUSD
		limit *bus.MicroUSD
		want  string
	}{
		{31_200, &limit, "$0.0312 of $5.00 (0 %)"},
		{4_999_999, &limit, "$4.999999 of $5.00 (99 %)"},
		{6_000_000, &limit, "$6.00 of $5.00 (120 %)"},
		{0, nil, "$0.00 (no limit)"},
		{1, &none, "$0.000001 (no limit)"},
	} {
		if got := spent(c.m, c.limit); got != c.want {
			t.Errorf("spent(%d) = %q, want %q", c.m, got, c.want)
		}
	}
}

// Whatever is cut off by an interrupt ends with the code that a shell expects of it.
func TestInterruptionHasItsCode(t *testing.T) {
	for _, err := range []error{context.Canceled, fmt.Errorf("ask the daemon: %w", context.Canceled)} {
		if f := explain(err); f.code != exitInterrupted || f.Error() != "interrupted" {
			t.Errorf("%v: exit code %d, %q", err, f.code, f.Error())
		}
	}
}
