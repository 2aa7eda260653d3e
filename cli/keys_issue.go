// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/nats-io/nkeys"
	"github.com/spf13/cobra"
)

type issueOptions struct {
	request bus.KeyRequest
	expires string
	out     string
}

func (a *app) keysIssueCommand() *cobra.Command {
	var o issueOptions
	cmd := &cobra.Command{
		Use:   "issue --role ROLE --name NAME",
		Short: "Make a key, and what a NATS client needs to use it",
		Long: "Make a key and let it on the bus. NAME.nk is its seed, which is not kept anywhere else,\n" +
			"and NAME.json a context of the `nats` tool: address, seed file and inbox prefix, which\n" +
			"other clients need too. Files that are there are never replaced.\n\n" +
			"observer hears and replays facts; --allow-sub makes that fewer. channel and tool speak\n" +
			"for the channel or tool NAME only; the agent does not call outside tools yet, so a tool\n" +
			"key is of use only to try one. operator may do what you may, and replays facts with\n" +
			"`blufio events`: a NATS client replays with an observer's key. explicit may do only\n" +
			"what --allow-sub and --allow-pub list, of the calls that the command line makes: none\n" +
			"about keys, tokens and secrets, and no messages, for which there is channel. Subjects\n" +
			"are those of EVENTS.md, such as evt.turn.* to hear and ctl.status to call.",
		Example: "  blufio keys issue --role observer --name dashboard\n" +
			"  blufio keys issue --role observer --name costs --allow-sub 'evt.cost.>' --expires 30d\n" +
			"  blufio keys issue --role explicit --name watchdog --allow-pub ctl.status --out keys",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.request.Role == "" || o.request.Name == "" {
				return misuse(cmd, "a key needs --role and --name")
			}
			if o.expires != "" {
				seconds, err := validFor(o.expires, "; without --expires it is valid until it is revoked")
				if err != nil {
					return err
				}
				o.request.Seconds = seconds
			}
			return a.issueKey(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.request.Role, "role", "", "its `ROLE`: "+strings.Join(bus.Roles(), ", "))
	f.StringVar(&o.request.Name, "name", "", "its `NAME`, of a-z 0-9 - _; a channel's or tool's own name")
	f.StringArrayVar(&o.request.AllowSub, "allow-sub", nil, "let it hear this `SUBJECT` or pattern (repeatable)")
	f.StringArrayVar(&o.request.AllowPub, "allow-pub", nil, "let it call this `SUBJECT` or pattern (repeatable)")
	f.StringVar(&o.expires, "expires", "", "how long it is valid, as a `DURATION` such as 24h or 30d; without it, until it is revoked")
	f.StringVar(&o.out, "out", ".", "write the files into this `DIR`")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(bus.Roles(), cobra.ShellCompDirectiveNoFileComp)) // the flags are there
	_ = cmd.RegisterFlagCompletionFunc("allow-sub", completeSubjects(func(s *bus.Spec) bool { return bus.Hearable(s.Subject()) }))
	_ = cmd.RegisterFlagCompletionFunc("allow-pub", completeSubjects(bus.Grantable))
	_ = cmd.RegisterFlagCompletionFunc("out", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs))
	return cmd
}

// validFor reads --expires, in seconds.
func validFor(text, otherwise string) (int64, error) {
	const most = 10 * 365 * 24 * time.Hour
	switch valid, err := config.ParseDuration(text); {
	case err != nil || valid < time.Second:
		return 0, fail(exitUsage, "write a duration such as 24h or 30d"+otherwise, "--expires %q is not a duration of a second or more", text)
	case valid > most:
		return 0, fail(exitUsage, "use at most 3650d"+otherwise, "--expires %s is longer than ten years", text)
	default:
		return int64(valid / time.Second), nil
	}
}

// completeSubjects offers the contract's subjects that fit.
func completeSubjects(fits func(*bus.Spec) bool) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var found []string
		for _, l := range bus.Contract() {
			if s := l.Spec(); fits(s) {
				found = append(found, strings.TrimPrefix(s.Subject(), bus.Prefix)+"\t"+s.Meaning)
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// issuedKey is what `keys issue --json` prints.
type issuedKey struct {
	bus.Key
	URL         string `json:"url"`
	SeedFile    string `json:"seed_file"`
	ContextFile string `json:"context_file"`
	Command     string `json:"command"` // one that uses it
}

// natsContext is a context file of the `nats` tool (its own names of fields).
type natsContext struct {
	Description string `json:"description"`
	URL         string `json:"url"`
	NKey        string `json:"nkey"`
	InboxPrefix string `json:"inbox_prefix"`
}

// issueKey makes a key: the seed is on disk before anyone is asked to let it in.
func (a *app) issueKey(ctx context.Context, o issueOptions) (err error) {
	if !bus.ValidName(o.request.Name) {
		return fail(exitUsage, bus.NameRule, "the name %q cannot be used", o.request.Name)
	}
	base, err := filepath.Abs(filepath.Join(o.out, o.request.Name))
	if err != nil {
		return fmt.Errorf("find directory: %w", err)
	}
	out := issuedKey{SeedFile: base + ".nk", ContextFile: base + ".json"}
	if _, err := os.Lstat(out.ContextFile); err == nil {
		return fail(exitFailed, "choose another --name or --out, or move it away", "%s is there already", out.ContextFile)
	}
	d, err := a.findDaemon()
	if err != nil {
		return err
	}
	out.URL = d.Bus
	if o.request.PublicKey, err = newSeedFile(out.SeedFile); err != nil {
		return err
	}
	if out.Key, err = ask(ctx, a, bus.KeyIssue, o.request); err != nil {
		return errors.Join(mayLive(err, o.request.Name), os.Remove(out.SeedFile))
	}
	if err := out.writeContext(); err != nil {
		return out.lives(err)
	}
	out.Command = out.use()
	if a.json {
		return a.printJSON(out)
	}
	a.note("%s %s (%s): seed in %s, context in %s", a.ui(a.err).ok(), line(out.Name), line(out.Role), out.SeedFile, out.ContextFile)
	for _, words := range dangers(out.Key) {
		a.note("%s %s", a.ui(a.err).warn(), words)
	}
	if out.Expires != nil {
		a.note("it expires on %s", out.Expires.Local().Format("2006-01-02 15:04:05"))
	}
	a.note("other clients need the address %s\nand the inbox prefix %s\ntry it with:", out.URL, line(out.Inbox))
	return a.print(out.Command + "\n")
}

// lives tells of a key that is on the bus, and of which a part could not be written.
func (k *issuedKey) lives(err error) error {
	return fail(explain(err).code, fmt.Sprintf("`blufio keys revoke %s` takes it back; or use it as it is, at %s with the inbox prefix %s", k.Name, k.URL, k.Inbox),
		"the key %s lives, with its seed in %s, but its context could not be written: %w", k.Name, k.SeedFile, err)
}

// mayLive tells of one that the daemon was asked for, and of which it said nothing.
func mayLive(err error, name string) error {
	if f := explain(err); f.code == exitNoAnswer && bus.CodeOf(err) == bus.CodeTimeout {
		return fail(f.code, fmt.Sprintf("`blufio keys list` tells; if it does, `blufio keys revoke %s`: nobody has its seed", name), "whether the key %s lives is not known: %w", name, err)
	}
	return err
}

// newSeedFile writes the seed of a new key where there is no file yet, and returns the
// public key.
func newSeedFile(path string) (public string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", fmt.Errorf("make key: %w", err)
	}
	defer pair.Wipe()
	if public, err = pair.PublicKey(); err != nil {
		return "", fmt.Errorf("make key: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return "", fmt.Errorf("make key: %w", err)
	}
	defer clear(seed)
	return public, writeNew(path, append(seed, '\n'))
}

// writeNew writes a private file, whole and on disk, and never over another.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case errors.Is(err, os.ErrExist):
		return fail(exitFailed, "choose another --name or --out, or move it away", "%s is there already", path)
	case err != nil:
		return fail(cmp.Or(deniedIf(err), exitFailed), "name a directory that you may write with --out", "write key: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write key: %w", err), os.Remove(path))
	}
	return nil
}

func (k *issuedKey) writeContext() error {
	data, err := json.MarshalIndent(natsContext{
		Description: "blufio " + k.Role + " " + k.Name, URL: k.URL, NKey: k.SeedFile, InboxPrefix: k.Inbox,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode context: %w", err)
	}
	return writeNew(k.ContextFile, append(data, '\n'))
}

// use is a command that uses the key.
func (k *issuedKey) use() string {
	start := "nats --context " + quoted(k.ContextFile) + " "
	find := func(list []string, prefix string) string {
		if i := slices.IndexFunc(list, func(s string) bool { return strings.HasPrefix(s, bus.Prefix+prefix) }); i >= 0 {
			return list[i]
		}
		return ""
	}
	switch heard, call := find(k.Subscribe, ""), find(k.Publish, ""); {
	case k.Role == bus.RoleOperator:
		return start + "req " + bus.StatusGet.Spec().Subject() + " '{}'"
	case k.Role == bus.RoleChannel:
		return start + "reply " + find(k.Subscribe, "msg.send.") + " '{}'"
	case k.Role == bus.RoleTool:
		return start + "reply " + find(k.Subscribe, "tool.") + " '{}'"
	case heard != "":
		return start + "sub '" + heard + "'"
	default:
		return start + "req " + call + " '{}'"
	}
}

// quoted is a path as a shell takes it.
func quoted(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+", r)
	}
	if strings.TrimFunc(path, plain) == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
