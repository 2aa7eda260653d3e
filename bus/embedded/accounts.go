// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
)

// The accounts. What crosses from one to another is listed in newAccounts and
// nowhere else.
const (
	accountHouse = "HOUSE" // rooms and operators
	accountWatch = "WATCH" // observers and the event stream
	accountEdge  = "EDGE"  // tools and channels outside the process
	accountLeaf  = "LEAF"  // what crosses to a hub
	accountSys   = "SYS"   // the server's own; nobody has a key for it
)

const (
	eventSubjects = "blufio.v1.evt.>"

	// OperatorInbox is the only inbox prefix an operator may listen on:
	// connect with nats.CustomInboxPrefix(OperatorInbox).
	OperatorInbox = "_INBOX.operator"
)

// operatorPermissions is all that the device key may do over TCP. Facts
// (evt) are not in it: only rooms state facts. The inboxes of rooms are not in
// it either: an operator answers a call by its response permission.
func operatorPermissions() *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			"blufio.v1.ctl.>",   // calls by an operator
			"blufio.v1.msg.>",   // the terminal is a channel
			"blufio.v1.agent.>", // sessions, history
			"blufio.v1.cost.>",  // what was spent
			"$SRV.>",            // nats micro ls, info, stats
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{
			eventSubjects,
			"blufio.v1.msg.>", // replies and deltas for the terminal
			OperatorInbox + ".>",
		}},
		Response: &server.ResponsePermission{MaxMsgs: 1, Expires: time.Minute},
	}
}

// accounts are those of one server.
type accounts struct {
	house, watch, edge, leaf, sys *server.Account
}

func newAccounts() (accounts, error) {
	a := accounts{
		house: server.NewAccount(accountHouse),
		watch: server.NewAccount(accountWatch),
		edge:  server.NewAccount(accountEdge),
		leaf:  server.NewAccount(accountLeaf),
		sys:   server.NewAccount(accountSys),
	}
	if err := a.house.AddStreamExport(eventSubjects, []*server.Account{a.watch}); err != nil {
		return a, fmt.Errorf("export events: %w", err)
	}
	if err := a.watch.AddStreamImport(a.house, eventSubjects, ""); err != nil {
		return a, fmt.Errorf("import events: %w", err)
	}
	return a, nil
}

func (a accounts) list() []*server.Account {
	return []*server.Account{a.house, a.watch, a.edge, a.leaf, a.sys}
}

// users are the keys that get on. The rooms' and the relay's are made per
// boot and refused over TCP; the device's is refused nowhere, and over TCP
// is where the command line uses it.
func (a accounts) users(device, house, watch *Device) []*server.NkeyUser {
	inProcess := map[string]struct{}{jwt.ConnectionTypeInProcess: {}}
	return []*server.NkeyUser{
		{Nkey: device.PublicKey(), Account: a.house, Permissions: operatorPermissions()},
		{Nkey: house.PublicKey(), Account: a.house, AllowedConnectionTypes: inProcess},
		{Nkey: watch.PublicKey(), Account: a.watch, AllowedConnectionTypes: inProcess},
	}
}
