// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsClient is a stock client with a context file: it listens, replays, asks, or waits
// until it is cut off: natsclient CONTEXT {replay SUBJECT | req SUBJECT DATA | connect |
// stay FILE}. FILE is made once it is on.
func natsClient(args []string) error {
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var c natsContext
	if err := json.Unmarshal(data, &c); err != nil {
		return err
	}
	key, err := nats.NkeyOptionFromSeed(c.NKey)
	if err != nil {
		return err
	}
	refused, closed := make(chan error, 1), make(chan struct{})
	nc, err := nats.Connect(c.URL, key, nats.CustomInboxPrefix(c.InboxPrefix), nats.NoReconnect(),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	switch args[1] {
	case "replay":
		return replay(ctx, nc, args[2])
	case "req":
		got := make(chan *nats.Msg, 1)
		go func() {
			if m, err := nc.RequestWithContext(ctx, args[2], []byte(args[3])); err == nil {
				got <- m
			}
		}()
		select {
		case m := <-got:
			fmt.Println(string(m.Data))
			return nil
		case err := <-refused:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	case "stay":
		if err := os.WriteFile(args[2], nil, 0o600); err != nil {
			return err
		}
		select {
		case <-closed:
			return nil
		case <-ctx.Done():
			return errors.New("it was not cut off")
		}
	}
	return nc.FlushWithContext(ctx)
}

// replay prints the oldest event of the stream that the subject chooses.
func replay(ctx context.Context, nc *nats.Conn, subject string) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	c, err := js.OrderedConsumer(ctx, "EVENTS", jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		return err
	}
	m, err := c.Next(jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	fmt.Println(m.Subject())
	return nil
}

// Every role shows a command that its key may really use.
func TestIssuedKeyShowsACommand(t *testing.T) {
	for want, k := range map[string]issuedKey{
		"sub 'blufio.v1.evt.>'":           {Key: bus.Key{Role: bus.RoleObserver, Subscribe: []string{"_INBOX.x.>", "blufio.v1.evt.>"}}},
		"req blufio.v1.ctl.status '{}'":   {Key: bus.Key{Role: bus.RoleExplicit, Publish: []string{"blufio.v1.ctl.status"}, Subscribe: []string{"_INBOX.x.>"}}},
		"reply blufio.v1.tool.w '{}'":     {Key: bus.Key{Role: bus.RoleTool, Subscribe: []string{"_INBOX.x.>", "blufio.v1.tool.w"}}},
		"reply blufio.v1.msg.send.w '{}'": {Key: bus.Key{Role: bus.RoleChannel, Subscribe: []string{"blufio.v1.msg.delta.w", "blufio.v1.msg.send.w"}}},
	} {
		k.ContextFile = "/tmp/it's/x.json"
		if got := k.use(); !strings.HasSuffix(got, " "+want) || !strings.HasPrefix(got, `nats --context '/tmp/it'\''s/x.json' `) {
			t.Errorf("%s: %s", want, got)
		}
	}
}

func TestFindKey(t *testing.T) {
	list := []bus.Key{
		{Name: "a", PublicKey: "U1", State: bus.KeyRevoked}, {Name: "a", PublicKey: "U2", State: bus.KeyLives},
		{Name: "b", PublicKey: "U3", State: bus.KeyRevoked}, {Name: "b", PublicKey: "U4", State: bus.KeyOver},
	}
	for name, want := range map[string]string{"a": "U2", "b": "U4", "U1": "U1", "c": ""} {
		if k, ok := findKey(list, name); k.PublicKey != want || ok != (want != "") {
			t.Errorf("%s: %s", name, k.PublicKey)
		}
	}
}
