// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
)

// parcel is one message for the hub's stream: an event, or the gap in place of
// several.
type parcel struct {
	seq    int64 // the cursor's position once it is acknowledged
	lost   int64 // how many events a gap stands for
	msg    *nats.Msg
	sent   time.Time
	stored bool
}

// pack makes the parcels for a page, in order. after is the position before it.
// What the page lacks or cannot tell becomes a gap.
func pack(node string, p bus.EventPage, after int64, now time.Time) (parcels []*parcel) {
	next := after + 1
	skip := func(to int64, why string) {
		if to >= next {
			parcels = append(parcels, gap(node, p.Epoch, next, to, why, now))
			next = to + 1
		}
	}
	if p.First > 0 {
		skip(p.First-1, "the daemon's event stream no longer held them when the hub could be reached")
	}
	for _, e := range p.Events {
		if e.Position < next {
			continue
		}
		skip(e.Position-1, "they are not in the daemon's event stream")
		if string(e.Payload) == "null" || len(e.Payload) == 0 {
			skip(e.Position, "it is too large to be sent")
			continue
		}
		parcels = append(parcels, &parcel{seq: e.Position, msg: message(node, e.Event, p.Epoch, "", e.Position, e.Payload)})
		next = e.Position + 1
	}
	return parcels
}

// gap is the parcel for events that will not come.
func gap(node, epoch string, from, to int64, why string, now time.Time) *parcel {
	data, err := json.Marshal(bus.GapFact{Time: now.UTC(), From: from, To: to, Why: why})
	if err != nil {
		data = nil // numbers, text and a time cannot fail to marshal
	}
	return &parcel{seq: to, lost: to - from + 1, msg: message(node, bus.StreamGap.Spec().Name, epoch, fmt.Sprintf("gap-%d-", from), to, data)}
}

func message(node, event, epoch, kind string, seq int64, data []byte) *nats.Msg {
	position := strconv.FormatInt(seq, 10)
	return &nats.Msg{Subject: bus.NodeSubject(node, event), Data: data, Header: nats.Header{
		nats.MsgIdHdr:   {strings.Join([]string{node, epoch, kind + position}, "-")},
		bus.HeaderSeq:   {position},
		bus.HeaderEpoch: {epoch},
	}}
}

// ack is the stream's answer to one parcel.
type ack struct {
	token          string
	stream, domain string
	err            error
	tooLarge       bool // it will never be taken
}

// codeTooLarge is JetStream's err_code for a message above the stream's limit.
const codeTooLarge = 10054

// readAck reads JetStream's answer to a publish (the JSON of its PubAck), or the
// server's word that nobody listens there.
func readAck(m *nats.Msg) ack {
	if m.Header.Get("Status") == "503" {
		return ack{err: errNoStream}
	}
	var answer struct {
		Stream string `json:"stream"`
		Domain string `json:"domain"`
		Seq    uint64 `json:"seq"`
		Error  *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &answer); {
	case err != nil:
		return ack{err: refusal{"the answer is not JetStream's"}}
	case answer.Error != nil:
		return ack{err: refusal{clean(answer.Error.Description)}, tooLarge: answer.Error.Code == codeTooLarge}
	case answer.Seq == 0 || !word(answer.Stream) || answer.Domain != "" && !word(answer.Domain):
		return ack{err: refusal{"the answer is not JetStream's"}}
	}
	return ack{stream: answer.Stream, domain: answer.Domain}
}

// word reports whether s, which came from outside, may stand in a subject.
func word(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(".*>", r) })
}
