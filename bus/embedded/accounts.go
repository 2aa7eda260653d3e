// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats-server/v2/server"
)

// The accounts that are always there. What crosses from one to another is listed in
// newAccounts; what a key's own account takes from them, in wiring.
const (
	accountHouse = "HOUSE" // rooms and operators
	accountWatch = "WATCH" // the event stream
	accountEdge  = "EDGE"  // the desk, where keys ask for what must be looked at first
	accountLeaf  = "LEAF"  // what crosses to a hub
	accountSys   = "SYS"   // the server's own; nobody has a key for it
)

const (
	eventSubjects = bus.Facts
	deltaSubjects = bus.Prefix + "msg.delta.*"
	inboxSubjects = "_INBOX.>"

	// After this long the server forgets that a key asked the stream something. Its
	// own two minutes are too long for what may be asked very often.
	longestAnswer = 15 * time.Second

	// OperatorInbox is the only inbox prefix the device key may listen on:
	// connect with nats.CustomInboxPrefix(OperatorInbox).
	OperatorInbox = "_INBOX.operator"
)

// roomPermissions is what rooms may do: speak the contract's subjects, but for facts,
// and answer.
func roomPermissions() *server.Permissions {
	return &server.Permissions{Publish: &server.SubjectPermission{
		Allow: []string{bus.Prefix + ">", "_INBOX.>", "_R_.>"},
		Deny:  []string{eventSubjects},
	}}
}

// operatorPermissions is all that the device key, and keys of operators, may do. Facts
// (evt) are not in it: only the relay states facts. The inboxes of rooms and of other
// operators are not in it either, nor may an operator answer calls: with a response
// permission it could ask itself on msg.x, with a fact's subject for the reply.
func operatorPermissions(inbox string) *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			"blufio.v1.ctl.>",    // calls by an operator
			"blufio.v1.msg.>",    // the terminal is a channel
			"blufio.v1.agent.>",  // sessions, history
			"blufio.v1.cost.>",   // what was spent
			"blufio.v1.recall.>", // what is known of people
			"$SRV.>",             // nats micro ls, info, stats
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{
			eventSubjects,
			"blufio.v1.msg.>", // replies and deltas for the terminal
			inbox + ".>",
		}},
	}
}

// accounts are those of one server that are always there.
type accounts struct {
	house, watch, edge, leaf, sys *server.Account
}

// newAccounts makes them. An export without a list of names is open to all accounts;
// none takes anything but what this package wires, for nobody else can wire.
func newAccounts() (accounts, error) {
	a := accounts{
		house: server.NewAccount(accountHouse),
		watch: server.NewAccount(accountWatch),
		edge:  server.NewAccount(accountEdge),
		leaf:  server.NewAccount(accountLeaf),
		sys:   server.NewAccount(accountSys),
	}
	for _, subject := range []string{eventSubjects, deltaSubjects} {
		if err := a.house.AddStreamExport(subject, nil); err != nil {
			return a, fmt.Errorf("export %s: %w", subject, err)
		}
	}
	for _, subject := range bus.Calls(bus.Prefix + ">") {
		if err := a.house.AddServiceExport(subject, nil); err != nil {
			return a, fmt.Errorf("export %s: %w", subject, err)
		}
	}
	if err := a.exportStream(); err != nil {
		return a, fmt.Errorf("export event stream: %w", err)
	}
	if err := a.edge.AddServiceExport(deskSubjects, nil); err != nil {
		return a, fmt.Errorf("export desk: %w", err)
	}
	if err := a.watch.AddStreamImport(a.house, eventSubjects, ""); err != nil {
		return a, fmt.Errorf("import events: %w", err)
	}
	return a, nil
}

// exportStream lets keys read the stream, and hear what it pushes to their inbox.
func (a accounts) exportStream() error {
	if err := a.watch.AddStreamExport(inboxSubjects, nil); err != nil {
		return err
	}
	for subject, kind := range readExports {
		if err := a.watch.AddServiceExportWithResponse(subject, kind, nil); err != nil {
			return err
		}
		if kind != server.Singleton {
			continue // a pull may take its time
		}
		if err := a.watch.SetServiceExportResponseThreshold(subject, longestAnswer); err != nil {
			return err
		}
	}
	return nil
}

func (a accounts) list() []*server.Account {
	return []*server.Account{a.house, a.watch, a.edge, a.leaf, a.sys}
}

// registered returns the accounts as the server knows them: it copies those of its
// options.
func (a accounts) registered(ns *server.Server) (accounts, error) {
	for _, account := range []**server.Account{&a.house, &a.watch, &a.edge, &a.leaf, &a.sys} {
		known, err := ns.LookupAccount((*account).GetName())
		if err != nil {
			return a, fmt.Errorf("find account %s: %w", (*account).GetName(), err)
		}
		*account = known
	}
	return a, nil
}
