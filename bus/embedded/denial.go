// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// Why the server refused something.
const (
	DeniedNoKey      = "no_key"     // a connection without a key, or with a password or a token
	DeniedBadKey     = "bad_key"    // a key that is not known (any more), or a wrong signature
	DeniedPermission = "permission" // a publish or a subscription
	DeniedLimit      = "limit"      // a message too large, one connection or subscription too many
	DeniedProtocol   = "protocol"   // what was sent is not NATS
	DeniedSlow       = "slow"       // not refused but cut off: it did not take what it asked for
)

// Denial is one thing that the server refused.
type Denial struct {
	Reason  string // one of the constants
	Key     string // public key of who was refused, "" if none; only claimed, not proved, with DeniedBadKey
	Subject string // of a publish or subscription; as the client wrote it, which may be anything
}

// fromClient begins the server's lines about a client. What follows is in parts
// with " - " between them: once the client is on, two quoted ones, of what it says
// of itself and of whom it is; then the event.
var fromClient = regexp.MustCompile(`^\S* - [cwm]id(_ws)?:\d+ - `)

const between = " - "

// readDenial reads a line of the server's log; false when it is about something
// else. Parts of it are the client's own choice: its name, which is quoted and
// before its account and key, and the subject, which has no space in it. So the
// line is read from its end, and what is unclear stays empty.
func readDenial(text string) (Denial, bool) {
	start := fromClient.FindString(text)
	if start == "" {
		return Denial{}, false
	}
	rest := text[len(start):]
	if after, ok := strings.CutPrefix(rest, server.ErrAuthentication.Error()); ok {
		return readRefusal(after), true
	}
	before, event := cutLast(rest)
	if d, ok := readViolation(before, event); ok {
		return d, true
	}
	d := Denial{Reason: DeniedProtocol, Key: keyOf(before)}
	for _, limit := range []error{server.ErrTooManyConnections, server.ErrTooManyAccountConnections, server.ErrMaxPayload, server.ErrTooManySubs, server.ErrMaxControlLine} {
		if strings.HasPrefix(event, limit.Error()) {
			d.Reason = DeniedLimit
		}
	}
	return d, true
}

// readCutOff reads the line, at notice level, about a client that was cut off because too
// much waits for it, or because it took nothing for too long. The connection is the
// server's name of it.
func readCutOff(text string) (d Denial, connection string, ok bool) {
	start := fromClient.FindString(text)
	before, event := cutLast(text[len(start):])
	if start == "" || !strings.HasPrefix(event, "Slow Consumer Detected") {
		return Denial{}, "", false
	}
	return Denial{Reason: DeniedSlow, Key: keyOf(before)}, start, true
}

// readRefusal reads the end of a refused connection's line: nothing, or the key, user or
// token that it named. A user's name is dropped: people type passwords there.
func readRefusal(after string) Denial {
	quoted, ok := strings.CutPrefix(after, between+"Nkey ")
	if !ok {
		return Denial{Reason: DeniedNoKey}
	}
	key, err := strconv.Unquote(quoted)
	if err != nil || !nkeys.IsValidPublicUserKey(key) {
		key = ""
	}
	return Denial{Reason: DeniedBadKey, Key: key}
}

// readViolation reads "Publish Violation - Subject "x"" and its like, of which event
// is the last part.
func readViolation(before, event string) (Denial, bool) {
	before, what := cutLast(before)
	if !strings.HasPrefix(what, "Publish Violation") && !strings.HasPrefix(what, "Subscription Violation") {
		return Denial{}, false
	}
	d := Denial{Reason: DeniedPermission, Key: keyOf(before)}
	if i := strings.IndexByte(event, '"'); i >= 0 {
		if quoted, err := strconv.QuotedPrefix(event[i:]); err == nil {
			d.Subject, _ = strconv.Unquote(quoted) // QuotedPrefix has checked it
		}
	}
	return d, true
}

// keyOf reads the last part before an event: the quoted account and key of a client
// that is on.
func keyOf(before string) string {
	_, last := cutLast(before)
	who, err := strconv.Unquote(last)
	if err != nil {
		return ""
	}
	_, key, _ := strings.Cut(who, "/nkey:")
	if !nkeys.IsValidPublicUserKey(key) {
		return ""
	}
	return key
}

// cutLast cuts off the last part.
func cutLast(text string) (before, last string) {
	i := strings.LastIndex(text, between)
	if i < 0 {
		return "", text
	}
	return text[:i], text[i+len(between):]
}
