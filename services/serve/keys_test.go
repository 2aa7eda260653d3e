// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/config"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// guest issues a key of the running daemon and connects with it.
func guest(t *testing.T, op *bus.Conn, q bus.KeyRequest, says ...bus.Lane) *bus.Conn {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if q.PublicKey, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	k, err := bus.KeyIssue.Ask(t.Context(), op, q)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(op.NATS().ConnectedUrl(), nats.Nkey(k.PublicKey, pair.Sign), nats.CustomInboxPrefix(k.Inbox))
	if err != nil {
		t.Fatal(err)
	}
	c := bus.NewConn(nc, bus.Options{Name: "guest", Logger: bustest.Logger(t), Says: says})
	t.Cleanup(nc.Close)
	return c
}

// A channel that is a program of its own, with nothing but a key: a message goes in, its
// reply comes out, and no other channel's name will do.
func TestChannelOutsideTheDaemon(t *testing.T) {
	op := daemon(t, func(*Config) {})
	c := guest(t, op, bus.KeyRequest{Name: "sms", Role: bus.RoleChannel}, bus.MessageReceive, bus.MessageGet)
	replies := make(chan bus.Reply, 1)
	err := c.Handle(t.Context(), bus.MessageSend.To("sms").Answer(func(_ context.Context, r bus.Reply) (bus.Receipt, error) {
		replies <- r
		return bus.Receipt{}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	acc, err := bus.MessageReceive.Ask(t.Context(), c, bus.Message{Channel: "sms", Owner: "+4711", Text: "/help"})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-replies:
		if r.MessageID != acc.ID || r.Owner != "+4711" || r.Text == "" {
			t.Errorf("reply %+v", r)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no reply within 20 s")
	}
	if m, err := bus.MessageGet.Ask(t.Context(), c, bus.MessageQuery{ID: acc.ID}); err != nil || m.State != bus.StateAnswered {
		t.Errorf("it became %+v, %v", m, err)
	}
	if _, err := bus.MessageReceive.Ask(t.Context(), c, bus.Message{Channel: "terminal", Owner: "owner", Text: "hello"}); bus.CodeOf(err) != bus.CodeDenied {
		t.Errorf("under another name: %v", err)
	}
	own, err := bus.MessageReceive.Ask(t.Context(), op, bus.Message{Channel: "terminal", Owner: "owner", Text: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bus.MessageGet.Ask(t.Context(), c, bus.MessageQuery{ID: own.ID}); bus.CodeOf(err) != bus.CodeNotFound {
		t.Errorf("another channel's message: %v", err)
	}
	if _, err := bus.KeyRevoke.Ask(t.Context(), op, bus.KeyRevocation{Key: "sms"}); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.MessageReceive.Ask(t.Context(), op, bus.Message{Channel: "sms", Owner: "x", Text: "hello"}); bus.CodeOf(err) != bus.CodeInvalid {
		t.Errorf("a channel without a key: %v", err)
	}
}

// rotator replaces the device key with the first line that is logged.
type rotator struct {
	slog.Handler
	dir  string
	once *sync.Once
	err  *error
}

func (r rotator) Handle(ctx context.Context, rec slog.Record) error {
	r.once.Do(func() { _, _, *r.err = RotateDevice(r.dir, func(string) {}) })
	return r.Handler.Handle(ctx, rec)
}

// A device key that is replaced while a daemon is about to start is not used by it.
func TestKeyIsReplacedDuringTheStart(t *testing.T) {
	var rotated error
	daemonOf(t, func(o *Options) { // which connects with what the file has
		if _, err := embedded.LoadOrCreateDevice(o.DataDir); err != nil {
			t.Fatal(err)
		}
		// A full one has the start log something when it learns the device key.
		o.Redactor = &config.Redactor{}
		for i := range 256 {
			if err := o.Redactor.Add(config.NewSecret(fmt.Sprintf("secret-%d", i))); err != nil {
				t.Fatal(err)
			}
		}
		o.Logger = slog.New(rotator{o.Logger.Handler(), o.DataDir, &sync.Once{}, &rotated})
	})
	if rotated != nil {
		t.Error(rotated)
	}
}
