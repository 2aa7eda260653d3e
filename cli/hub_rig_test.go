// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// runHub is a hub with its stream until it is interrupted: testhub DIR. It writes
// the key for daemons to DIR/leaf.nk, and then its address to DIR/url.
func runHub(args []string) error {
	dir := args[0]
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	seed, err := pair.Seed()
	if err != nil {
		return err
	}
	public, err := pair.PublicKey()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "leaf.nk"), seed, 0o600); err != nil {
		return err
	}
	ns, url, err := startHub(dir, public)
	if err != nil {
		return err
	}
	defer ns.Shutdown()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := os.WriteFile(filepath.Join(dir, "url.new"), []byte(url+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "url.new"), filepath.Join(dir, "url")); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func startHub(dir, public string) (*server.Server, string, error) {
	account := server.NewAccount("BLUFIO")
	o := &server.Options{ServerName: "hub", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, JetStreamDomain: "hub", Accounts: []*server.Account{account},
		Nkeys: []*server.NkeyUser{{Nkey: public, Account: account}},
		Users: []*server.User{{Username: "owner", Password: "owner", Account: account}}}
	o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
	ns, err := server.NewServer(o)
	if err != nil {
		return nil, "", err
	}
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		return nil, "", fmt.Errorf("the hub is not ready")
	}
	if account, err = ns.LookupAccount(account.GetName()); err != nil {
		return nil, "", err
	}
	if !account.JetStreamEnabled() {
		if err := account.EnableJetStream(nil, nil); err != nil {
			return nil, "", err
		}
	}
	nc, err := nats.Connect(ns.ClientURL(), nats.UserInfo("owner", "owner"))
	if err != nil {
		return nil, "", err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: bus.NodeStream, Subjects: []string{bus.NodeFacts}, AllowDirect: true})
	return ns, fmt.Sprintf("nats-leaf://127.0.0.1:%d", o.LeafNode.Port), err
}
