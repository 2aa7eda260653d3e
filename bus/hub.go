// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// On a hub every daemon has a name, one subject word, and its subjects stand
// below it:
//
//	blufio.node.NAME.v1.evt.…       its events, for a stream of the hub's
//	blufio.node.NAME.v1.ctl.…       the calls of HubCalls, and ctl.hello
//	blufio.node.NAME.v1.claim       "I am NAME": two that say so hear of each other
//	blufio.nodes.v1.ctl.hello       every daemon is to say its NodeRow,
//	blufio.node.NAME.v1.here        and says it here, where its key speaks for its name alone
//	_INBOX.node.NAME.…              where its own questions are answered
const (
	nodePrefix  = "blufio.node."
	nodeVersion = ".v1."

	// NodesHello is asked of all daemons at once.
	NodesHello = "blufio.nodes.v1.ctl.hello"

	// NodeFacts is what the hub's stream keeps: the events of all daemons.
	NodeFacts = nodePrefix + "*" + nodeVersion + "evt.>"

	// NodeStream is the name proposed for that stream.
	NodeStream = "BLUFIO"
)

// NodesSchema names the shape of what `blufio nodes --json` prints.
const NodesSchema = "blufio.nodes/1"

// HubCall is a call that daemons answer each other, and the hub's owner, through
// the hub.
type HubCall interface {
	Lane
	// AskJSON asks with a request in JSON, "" for an empty one, and returns the answer in JSON.
	AskJSON(ctx context.Context, c *Conn, req []byte) ([]byte, error)
}

// HubCalls are all that is answered to a hub. Never what hands out or takes keys,
// tokens or secrets, and nothing that spends money or shows what was written.
func HubCalls() []HubCall { return []HubCall{StatusGet, DoctorRun, JobGet} }

// AskJSON is Ask for those who pass a question on.
func (l Call[T, R]) AskJSON(ctx context.Context, c *Conn, req []byte) ([]byte, error) {
	var question T
	if len(req) > 0 {
		var err error
		if question, err = decode[T](req); err != nil {
			return nil, err
		}
	}
	answer, err := l.Ask(ctx, c, question)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// NodeSubject is where the lane of that name, as "ctl.status" or
// "evt.turn.completed", stands on a hub for the daemon of that name.
func NodeSubject(node, name string) string { return nodePrefix + node + nodeVersion + name }

// NodeHello is the subject on which one daemon says that it is there.
func NodeHello(node string) string { return NodeSubject(node, "ctl.hello") }

// NodeClaim is the subject on which a daemon says that the name is its own.
func NodeClaim(node string) string { return NodeSubject(node, "claim") }

// NodeHere is the subject on which a daemon says its NodeRow when all are asked, "*" for
// that of any. In an inbox everybody could answer for everybody; here the hub sees to it
// that the key is that of the name.
func NodeHere(node string) string { return NodeSubject(node, "here") }

// HereNode is the name of the daemon that said something on a NodeHere, "" when subject
// is none.
func HereNode(subject string) string {
	node, ok := strings.CutSuffix(strings.TrimPrefix(subject, nodePrefix), nodeVersion+"here")
	if !ok || !ValidToken(node) || NodeHere(node) != subject {
		return ""
	}
	return node
}

// NodeInbox is the prefix of the subjects on which a daemon is answered.
func NodeInbox(node string) string { return "_INBOX.node." + node }

// NodeLast asks a hub's JetStream for the newest message that its stream holds on
// subject. The domain, which the stream tells with each acknowledgement, is what
// leads past this daemon's own JetStream.
func NodeLast(domain, stream, subject string) string {
	return "$JS." + domain + ".API.DIRECT.GET." + stream + "." + subject
}

// NodeInner is the pattern of everything inside a house. None of it crosses to a
// hub, in either direction.
const NodeInner = Prefix + ">"

// AnswerSubject reports whether subject is one to send an answer to: an inbox, or
// what a server makes of one. All of them begin with an underscore. Whoever asks
// chooses this subject, and with another one an answer would be heard as an event
// or a call.
func AnswerSubject(subject string) bool { return strings.HasPrefix(subject, "_") }

// ReplyMsg is an answer as calls are answered: data or, when e is not nil, the
// error in the headers of a NATS service.
func ReplyMsg(subject string, data []byte, e *Error) *nats.Msg {
	if e == nil {
		return &nats.Msg{Subject: subject, Data: data}
	}
	return &nats.Msg{Subject: subject, Data: e.body(),
		Header: nats.Header{micro.ErrorCodeHeader: {string(e.Code)}, micro.ErrorHeader: {oneLine(e.Message)}}}
}

// ReplyError is the error that an answer made by ReplyMsg carries, nil for none.
func ReplyError(m *nats.Msg) error {
	if code := m.Header.Get(micro.ErrorCodeHeader); code != "" {
		return errorFrom(code, m.Header.Get(micro.ErrorHeader), m.Data)
	}
	return nil
}

// NodeQuestion is a call to be put to another daemon on the hub.
type NodeQuestion struct {
	Node    string          `json:"node"`
	Call    string          `json:"call"`              // the lane's name, as "ctl.status"
	Request json.RawMessage `json:"request,omitempty"` // its payload; nothing is an empty one
}

// NodeAnswer is what the other daemon answered: Answer or Error. That it could
// not be asked at all is an error of the call itself: not_found when no daemon of
// that name is on the hub, unavailable when this daemon has no hub or does not
// reach it, timeout when the other one is there and does not answer.
type NodeAnswer struct {
	Answer json.RawMessage `json:"answer,omitempty"`
	Error  *NodeError      `json:"error,omitempty"`
}

// NodeError is an error that another daemon answered.
type NodeError struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Err is the error again, with the name of the daemon it came from.
func (e *NodeError) Err(node string) error {
	return &Error{Code: e.Code, Message: fmt.Sprintf("%s: %s", node, e.Message), Hint: e.Hint}
}

// NodesQuery asks who is on the hub.
type NodesQuery struct{}

// Nodes is who answered within two seconds, by name.
type Nodes struct {
	Self  string    `json:"self"`  // this daemon
	Nodes []NodeRow `json:"nodes"` // at most 4096
	More  bool      `json:"more"`  // there were more answers than are told
}

// NodeRow is one daemon on the hub, in a line. Facts that it could not tell are
// null. Two rows of one name are two daemons that should not share it.
type NodeRow struct {
	Node          string    `json:"node"`
	ID            string    `json:"id"`    // of this run of the daemon
	State         string    `json:"state"` // as in its status
	Version       string    `json:"version"`
	UptimeSeconds int64     `json:"uptime_seconds"`
	RSS           *int64    `json:"rss_bytes"`
	Limit         *int64    `json:"limit_bytes"`
	Today         *MicroUSD `json:"today_microusd"`
	Time          time.Time `json:"time"` // when it answered, by its clock
}

// NodeGreeting is what a daemon answers on ctl.hello, and claims its name with.
type NodeGreeting struct {
	Node string `json:"node"`
	ID   string `json:"id"`
}
