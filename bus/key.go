// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"slices"
	"strings"
	"time"
)

// KeysSchema names the shape of what `blufio keys list --json` prints.
const KeysSchema = "blufio.keys/1"

// Roles of a bus key.
const (
	RoleOperator = "operator" // whatever the device key may, but for reading its file
	RoleObserver = "observer" // hears and replays facts
	RoleChannel  = "channel"  // hands in messages and takes replies under its own name
	RoleTool     = "tool"     // answers calls of its own name
	RoleExplicit = "explicit" // what is listed, and nothing else
)

// Roles are all there are.
func Roles() []string {
	return []string{RoleOperator, RoleObserver, RoleChannel, RoleTool, RoleExplicit}
}

// States of a bus key.
const (
	KeyLives   = "living"
	KeyOver    = "expired"
	KeyRevoked = "revoked"
)

// KeyRequest asks for a key to be let in. The seed stays where it was made: only the
// public key travels.
type KeyRequest struct {
	Name      string   `json:"name"` // unique among living keys; a channel's or a tool's own name
	Role      string   `json:"role"` // operator, observer, channel, tool or explicit
	PublicKey string   `json:"public_key"`
	AllowSub  []string `json:"allow_sub,omitempty"` // patterns of facts, and of msg.delta, that it may hear
	AllowPub  []string `json:"allow_pub,omitempty"` // patterns of calls that it may make
	Seconds   int64    `json:"seconds,omitempty"`   // how long it holds; 0 is until it is revoked
}

// Key is one bus key and what it may do.
type Key struct {
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	State     string     `json:"state"` // living, expired or revoked
	PublicKey string     `json:"public_key"`
	Inbox     string     `json:"inbox"`     // the prefix of subjects on which it hears answers
	Publish   []string   `json:"publish"`   // subjects it may publish to, as NATS patterns
	Subscribe []string   `json:"subscribe"` // subjects it may listen on
	Issued    time.Time  `json:"issued"`
	Expires   *time.Time `json:"expires"`   // null: not by itself
	Revoked   *time.Time `json:"revoked"`   // null: it was not
	LastSeen  *time.Time `json:"last_seen"` // when it last connected; null: never
}

// KeyQuery asks for the living keys, or for dead ones too.
type KeyQuery struct {
	All bool `json:"all,omitempty"` // with expired and revoked ones of the last 90 days
}

// Keys answers a KeyQuery, by name.
type Keys struct {
	Keys  []Key `json:"keys"`
	Limit int   `json:"limit"` // of living ones
}

// KeyRevocation names a living key by its name or its public key.
type KeyRevocation struct {
	Key string `json:"key"`
}

// DeviceRotation asks for a new device key. Gateway tokens that the old one signed
// are not valid any more, and connections made with it end.
type DeviceRotation struct{}

// DeviceRotated tells of the new device key, which is in its file.
type DeviceRotated struct {
	PublicKey string `json:"public_key"`
	Old       string `json:"old"` // public key of the one before
}

// KeyFact: a key was issued, was revoked, or expired.
type KeyFact struct {
	Time      time.Time  `json:"time"`
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	PublicKey string     `json:"public_key"`
	Expires   *time.Time `json:"expires,omitempty"`
}

// OperatorOnly reports whether the call may not be handed to a key by name: whoever
// has it could make keys of any kind, read or replace secrets, or take everything away.
func OperatorOnly(s *Spec) bool {
	for _, area := range []string{"ctl.keys.", "ctl.token.", "ctl.vault.", "ctl.backup."} {
		if strings.HasPrefix(s.Name, area) {
			return true
		}
	}
	return false
}

// ForChannels reports whether the call is made by channels, each for itself. Handed to a
// key by name it would speak for every channel, in its owner's voice.
func ForChannels(s *Spec) bool {
	return slices.Contains([]string{MessageReceive.Spec().Name, MessageGet.Spec().Name, MessageCancel.Spec().Name}, s.Name)
}

// Grantable reports whether the call may be handed to a key by name: a person may make
// it, and neither [OperatorOnly] nor [ForChannels] keeps it back. What only rooms say to
// each other is never handed on.
func Grantable(s *Spec) bool {
	return s.Kind == KindCall && slices.Contains(s.From, "cli") && !OperatorOnly(s) && !ForChannels(s)
}

// Danger says what a key can do with the call on that subject, "" when it can do no harm
// and learns nothing private.
func Danger(subject string) string {
	for lane, words := range map[Lane]string{
		SpendingSet:   "it may stop the agent's spending, and let it go on after you stopped it",
		QueueList:     "it sees what people wrote and the agent could not answer or deliver",
		QueueRetry:    "it may have dead letters answered, which costs money, and delivered to people",
		QueueDrop:     "it may delete dead letters for good",
		AgentSessions: "it sees who talks to the agent, on every channel",
		AgentHistory:  "it reads every conversation of everyone",
		PersonGet:     "it learns who is the same person on several channels",
		RecallSearch:  "it reads what is remembered of everyone",
		RecallList:    "it reads what is remembered of everyone",
		RecallKeep:    "it may have the agent believe something of anyone, in place of what was known",
		RecallImport:  "it may have the agent believe something of anyone",
		RecallDrop:    "it may delete what is remembered of anyone, for good",
	} {
		if lane.Spec().Subject() == subject {
			return words
		}
	}
	return ""
}

// Calls returns the subjects of the contract's calls that a pattern covers, of those
// that are [Grantable].
func Calls(pattern string) []string {
	var found []string
	for _, l := range Contract() {
		if s := l.Spec(); Grantable(s) {
			if common := narrower(pattern, s.Subject()); common != "" && !slices.Contains(found, common) {
				found = append(found, common)
			}
		}
	}
	return found
}

// FactsOf returns the subjects of the contract's facts that a pattern covers.
func FactsOf(pattern string) []string {
	var found []string
	for _, l := range Contract() {
		if s := l.Spec(); s.Kind == KindDurable && Covers(pattern, s.Subject()) {
			found = append(found, s.Subject())
		}
	}
	return found
}

// narrower is that of two subjects, either with wildcards, which the other covers; ""
// when neither does.
func narrower(a, b string) string {
	switch {
	case Covers(a, b):
		return b
	case Covers(b, a):
		return a
	}
	return ""
}

// Covers reports whether every subject that inner matches is matched by outer too.
func Covers(outer, inner string) bool {
	o, i := strings.Split(outer, "."), strings.Split(inner, ".")
	for n, word := range o {
		switch {
		case word == ">":
			return len(i) > n
		case n >= len(i), i[n] == ">", word != "*" && word != i[n]:
			return false
		}
	}
	return len(o) == len(i)
}

// Facts and deltas are what a key may listen to beside its own inbox.
const deltas = Prefix + "msg.delta.*"

// Hearable reports whether a key may be given the pattern to listen on: facts, and
// the answers that are being made for a channel.
func Hearable(pattern string) bool { return Covers(Facts, pattern) || Covers(deltas, pattern) }

// inboxes are the prefixes under which an answer is awaited: a client's inbox, and
// what takes its place when a call crosses from one account into another.
var inboxes = []string{"_INBOX.", "_R_."}

// IsInbox reports whether subject is one that answers may be sent to. Whoever asks
// chooses where the answer goes; anywhere else it might pass for a fact or a command.
func IsInbox(subject string) bool {
	return slices.ContainsFunc(inboxes, func(prefix string) bool { return strings.HasPrefix(subject, prefix) })
}
