// SPDX-License-Identifier: MIT OR Apache-2.0

// Package roomtest runs a room on a test bus as the house would.
package roomtest

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Start runs s until the test ends or stop is called, whichever comes first.
// stop asks Run to return, waits for it and drains the connection; an error of
// Run fails the test.
func Start(t testing.TB, b *bustest.Bus, s services.Service) (stop func()) {
	t.Helper()
	d := s.Door()
	nc, err := b.Server().ConnectRoom(d.Name)
	if err != nil {
		t.Fatal(err)
	}
	conn := bus.NewConn(nc, bus.Options{Name: d.Name, Says: d.Says, Logger: bustest.Logger(t)})
	background := context.WithoutCancel(t.Context())
	ctx, cancel := context.WithCancel(background)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.Run(ctx, conn, func() {
			if err := conn.Handle(ctx, d.Hears...); err != nil {
				t.Errorf("handle: %v", err)
			}
			close(ready)
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("%s ended before it was ready: %v", d.Name, err)
	case <-time.After(10 * time.Second):
		t.Fatalf("%s is not ready after 10 s", d.Name)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			limit, release := context.WithTimeout(background, 10*time.Second)
			defer release()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("%s ended with: %v", d.Name, err)
				}
			case <-limit.Done():
				t.Errorf("%s did not end within 10 s", d.Name)
			}
			if err := conn.Drain(limit); err != nil {
				t.Errorf("drain %s: %v", d.Name, err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// Store opens a fresh database with the event log's tables and the given ones.
func Store(t testing.TB, schemas ...sqlite.Schema) *sqlite.Store {
	t.Helper()
	return OpenStore(t, filepath.Join(t.TempDir(), "blufio.db"), schemas...)
}

// OpenStore opens or creates the database at path, as a restarted daemon would.
func OpenStore(t testing.TB, path string, schemas ...sqlite.Schema) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Logger: bustest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := store.Migrate(t.Context(), append([]sqlite.Schema{eventlog.Schema}, schemas...)...); err != nil {
		t.Fatal(err)
	}
	return store
}

// Events are all that a log holds, oldest first, however many pages that is.
func Events(t testing.TB, log *eventlog.Log) (all []eventlog.Row) {
	t.Helper()
	for seq := int64(0); ; {
		page, err := log.After(t.Context(), seq, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		seq = page[len(page)-1].Seq
	}
}
