// SPDX-License-Identifier: MIT OR Apache-2.0

package services

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

var errBroken = errors.New("broken")

// The pause doubles up to Most, and after Limit failures within Window the
// house is to end.
func TestBackoff(t *testing.T) {
	pauses, err := lives(t, Backoff{First: 100 * time.Millisecond, Most: 3 * time.Second, Limit: 9, Window: time.Hour}, 100, 0)
	want := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond,
		1600 * time.Millisecond, 3 * time.Second, 3 * time.Second, 3 * time.Second}
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
	if !errors.Is(err, errBroken) {
		t.Errorf("the house ends with %v", err)
	}
}

// Failures further apart than Window are forgiven.
func TestBackoffForgives(t *testing.T) {
	pauses, err := lives(t, Backoff{First: time.Second, Most: time.Minute, Limit: 3, Window: time.Minute}, 50, 40*time.Second)
	if err != nil || len(pauses) != 49 {
		t.Errorf("%d pauses, the house ends with %v", len(pauses), err)
	}
	for _, p := range pauses {
		if p > 2*time.Second {
			t.Fatalf("the pause grows to %s", p)
		}
	}
}

// lives lets a room fail up to n times, after it was up for so long, and
// returns the pauses between its lives and what it told the house. The clock is
// the bubble's, in which a real connection cannot be, so connecting fails.
func lives(t *testing.T, b Backoff, n int, up time.Duration) (pauses []time.Duration, err error) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		count, ended := 0, time.Now()
		h := &House{log: slog.New(slog.DiscardHandler), stats: newBusMetrics(), fatal: make(chan error, 1)}
		h.cfg.Backoff = b
		h.cfg.Connect = func(string) (*nats.Conn, error) {
			if count++; count > 1 {
				pauses = append(pauses, time.Since(ended))
			}
			if count == n {
				cancel()
			}
			time.Sleep(up)
			ended = time.Now()
			return nil, errBroken
		}
		h.keep(ctx, &room{was: true}, func() {})
		select {
		case err = <-h.fatal:
		default:
		}
	})
	return pauses, err
}
