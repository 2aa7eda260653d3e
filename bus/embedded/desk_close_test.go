// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
)

// What arrives while the desk closes is either answered before close returns, or not
// begun: nobody would wait for it.
func TestDeskBeginsNothingAfterItsEnd(t *testing.T) {
	device, err := LoadOrCreateDevice(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Device: device})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(context.WithoutCancel(t.Context())) //nolint:errcheck // nothing depends on it
	d, err := newDesk(s)
	if err != nil {
		t.Fatal(err)
	}
	var closed atomic.Bool
	var late atomic.Int64
	var senders sync.WaitGroup
	ask := func() {
		p := &post{work: make(chan struct{}, 1)}
		d.passOn(d.edge, p, &nats.Msg{Subject: "x", Reply: "_INBOX.x"}, func(context.Context) (*nats.Msg, error) {
			if closed.Load() {
				late.Add(1)
			}
			return &nats.Msg{}, nil
		})
	}
	for range 8 {
		senders.Go(func() {
			for range 200 {
				ask()
			}
		})
	}
	d.close()
	closed.Store(true)
	ask()
	senders.Wait()
	d.done.Wait()
	if n := late.Load(); n > 0 {
		t.Errorf("%d were begun after the end", n)
	}
}
