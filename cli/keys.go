// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := group("keys", "Let tools and people on the bus, and shut them out again",
		"  blufio keys issue --role observer --name dashboard\n  blufio keys list\n  blufio keys revoke dashboard",
		a.keysIssueCommand(), a.keysListCommand(), a.keysShowCommand(), a.keysRevokeCommand(), a.keysRotateCommand())
	cmd.Long = "Let tools and people on the bus with keys of their own, see what each may do, and shut\n" +
		"them out again. All of it acts at once, and nobody else is disturbed. Only the public\n" +
		"part of a key is ever stored. `blufio token` makes tokens for the HTTP gateway instead."
	return cmd
}

func (a *app) keysListCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys of the bus, and when each was last seen",
		Long: "List the keys of the bus: those that live, and with --all also those that expired or\n" +
			"were revoked in the last 90 days. A key is seen whenever it connects.",
		Example: "  blufio keys list\n  blufio keys list --all\n  blufio keys list --json | jq -r '.keys[].name'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := ask(cmd.Context(), a, bus.KeyList, bus.KeyQuery{All: all})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(keyList{bus.KeysSchema, list})
			}
			return a.print(a.keyTable(list.Keys))
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "with expired and revoked ones")
	return cmd
}

// keyList is what `keys list --json` prints.
type keyList struct {
	Schema string `json:"schema"`
	bus.Keys
}

func (a *app) keyTable(list []bus.Key) string {
	u := a.ui(a.out)
	if len(list) == 0 {
		return "no keys: `blufio keys issue` makes one\n"
	}
	head := []string{"NAME", "ROLE", "STATE", "KEY", "EXPIRES", "LAST SEEN"}
	for i := range head {
		head[i] = u.dim(head[i])
	}
	rows := [][]string{head}
	for _, k := range list {
		state := k.State
		if state != bus.KeyLives {
			state = u.red(state)
		}
		rows = append(rows, []string{line(k.Name), line(k.Role), state, shortKey(k.PublicKey), a.ends(k), ago(k.LastSeen, a.now())})
	}
	return table(rows)
}

// shortKey is enough of a public key to tell it from others.
func shortKey(public string) string {
	if len(public) < 12 {
		return line(public)
	}
	return line(public[:6] + ".." + public[len(public)-4:])
}

// ends says when a key's time is over.
func (a *app) ends(k bus.Key) string {
	switch {
	case k.Expires == nil:
		return "never"
	case k.State == bus.KeyLives:
		return "in " + span(k.Expires.Sub(a.now()))
	}
	return k.Expires.Local().Format("2006-01-02")
}

func (a *app) keysShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show what a key may say and hear",
		Long: "Show a key and all subjects that it may publish to and subscribe to: * stands for one\n" +
			"word of a subject, > for all that follow. A name that was used before shows its newest\n" +
			"key; a public key names one exactly.",
		Example:           "  blufio keys show dashboard\n  blufio keys show dashboard --json",
		Args:              oneArg("name"),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := ask(cmd.Context(), a, bus.KeyList, bus.KeyQuery{All: true})
			if err != nil {
				return err
			}
			k, ok := findKey(list.Keys, args[0])
			if !ok {
				return fail(exitFailed, "`blufio keys list` shows them", "there is no key %q", args[0])
			}
			if a.json {
				slices.Sort(k.Publish)
				slices.Sort(k.Subscribe)
				return a.printJSON(k)
			}
			return a.print(a.keyText(k))
		},
	}
}

// findKey is the living key of that name or public key, or the newest dead one.
func findKey(list []bus.Key, name string) (found bus.Key, ok bool) {
	for _, k := range list { // dead ones of a name come in the order of their issue
		if k.Name != name && k.PublicKey != name || ok && found.State == bus.KeyLives {
			continue
		}
		found, ok = k, true
	}
	return found, ok
}

func (a *app) keyText(k bus.Key) string {
	u := a.ui(a.out)
	rows := [][]string{
		{u.bold("name"), line(k.Name)}, {u.bold("role"), line(k.Role)}, {u.bold("state"), line(k.State)},
		{u.bold("public key"), line(k.PublicKey)}, {u.bold("inbox prefix"), line(k.Inbox)},
		{u.bold("issued"), moment(k.Issued, a.now())}, {u.bold("expires"), a.expiry(k)}, {u.bold("last seen"), ago(k.LastSeen, a.now())},
	}
	if k.Revoked != nil {
		rows = append(rows, []string{u.bold("revoked"), moment(*k.Revoked, a.now())})
	}
	text := table(rows)
	for _, words := range dangers(k) {
		text += u.warn() + " " + words + "\n"
	}
	return text + subjects(u, "may publish to", spoken(k.Publish)) + subjects(u, "may subscribe to", k.Subscribe)
}

// expiry says when a key's time is over, to the second.
func (a *app) expiry(k bus.Key) string {
	if k.Expires == nil {
		return "never"
	}
	at := k.Expires.Local().Format("2006-01-02 15:04:05")
	if k.State == bus.KeyLives {
		return at + ", " + a.ends(k)
	}
	return at
}

// replays is the question that whoever may replay may ask.
const replays = "$JS.API.CONSUMER.CREATE.EVENTS"

// spoken are the subjects that a key may publish to, with one line for the many of a replay.
func spoken(list []string) []string {
	if !slices.Contains(list, replays) {
		return list
	}
	kept := slices.DeleteFunc(slices.Clone(list), func(s string) bool { return strings.HasPrefix(s, "$JS.") })
	return append(kept, "may replay the stream EVENTS (--json lists the subjects of that)")
}

// dangers says in words what it means that a key may make a call that can do harm. An
// operator may do everything, which its role says.
func dangers(k bus.Key) (words []string) {
	if k.Role == bus.RoleOperator {
		return []string{"an operator may do what you may: spend, stop, delete, issue keys and tokens, replace secrets"}
	}
	for _, subject := range k.Publish {
		if danger := bus.Danger(subject); danger != "" {
			words = append(words, strings.TrimPrefix(subject, bus.Prefix)+": "+danger)
		}
	}
	slices.Sort(words)
	return words
}

func subjects(u ui, title string, list []string) string {
	if len(list) == 0 {
		list = []string{"nothing"}
	}
	list = slices.Clone(list)
	slices.Sort(list)
	for i := range list {
		list[i] = "  " + line(list[i])
	}
	return "\n" + u.bold(title) + "\n" + strings.Join(list, "\n") + "\n"
}

// completeKeys offers the names of living keys.
func (a *app) completeKeys(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	list, err := ask(ctx, a, bus.KeyList, bus.KeyQuery{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, k := range list.Keys {
		names = append(names, k.Name+"\t"+k.Role)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) keysRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME",
		Short: "Shut a key out for good and end its connections",
		Long: "Shut a key out for good, at once: its open connections end, and nobody else's. The\n" +
			"public key names it too. A key that was revoked cannot be let in again.",
		Example:           "  blufio keys revoke dashboard",
		Args:              oneArg("name"),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := ask(cmd.Context(), a, bus.KeyRevoke, bus.KeyRevocation{Key: args[0]})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(k)
			}
			return a.print(fmt.Sprintf("%s revoked: %s (%s)\n", a.ui(a.out).ok(), line(k.Name), line(k.Role)))
		},
	}
}

func (a *app) keysRotateCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "rotate-device",
		Short: "Replace the device key by a new one",
		Long: "Replace the device key, in the running daemon or, if none runs, in its file. Gateway\n" +
			"tokens that the old key signed are not valid any more: issue new ones. Other keys of\n" +
			"the bus stay. On a terminal you are asked first; elsewhere --yes says that it is meant.",
		Example: "  blufio keys rotate-device\n  blufio keys rotate-device --yes",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.confirm(cmd, "replace the device key? Every gateway token stops being valid.", yes); err != nil {
				return err
			}
			rotated, err := a.rotateDevice(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(rotated)
			}
			a.note("every gateway token has just ended: `blufio token issue` makes new ones")
			return a.print(fmt.Sprintf("%s the device key is now %s\n", a.ui(a.out).ok(), line(rotated.PublicKey)))
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// rotateDevice has the running daemon do it, or does it in the daemon's place.
func (a *app) rotateDevice(ctx context.Context) (bus.DeviceRotated, error) {
	rotated, err := ask(ctx, a, bus.KeyRotateDevice, bus.DeviceRotation{})
	if f := (*failure)(nil); !errors.As(err, &f) || f.code != exitNotRunning {
		return rotated, err
	}
	dir, err := a.data()
	if err != nil {
		return rotated, err
	}
	if err := becomeOwner(dir); err != nil {
		return rotated, err
	}
	old, device, err := serve.RotateDevice(dir, a.warnFirst)
	if err != nil {
		return rotated, serveFailure(err)
	}
	return bus.DeviceRotated{PublicKey: device, Old: old}, nil
}
