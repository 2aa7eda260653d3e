// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// create makes a consumer of the stream: one that goes by itself, shows what the key
// may hear, and delivers to the key's own inbox if anywhere. JetStream would deliver to
// any subject of its account, its own API and the inboxes of others included.
func (d *desk) create(ctx context.Context, p *post, asked string, m *nats.Msg) (*nats.Msg, error) {
	var req server.CreateConsumerRequest
	if err := json.Unmarshal(m.Data, &req); err != nil {
		return apiRefusal("the request is not the JSON of a consumer"), nil
	}
	if why := p.key.consumerProblem(&req); why != "" {
		d.denied(p.key, asked)
		return apiRefusal(why), nil
	}
	req.Config.InactiveThreshold = min(req.Config.InactiveThreshold, maxIdle)
	// The asker's patience does not count here: what it is too short for would be made
	// and not noted.
	ctx, cancel := context.WithTimeout(d.ctx, deskTimeout)
	defer cancel()
	if !p.reserve(func(consumer string) bool { return d.consumerGone(ctx, consumer) }) {
		return apiRefusal(fmt.Sprintf("this key reads %d times at once, and may not more often", keyReplays)), nil
	}
	name := ""
	defer func() { p.made(name) }()
	if !p.owns(req.Config.Name) {
		req.Action = server.ActionCreate // else it might change another key's
	}
	// What was read is what is sent: another reader might take another of two fields
	// of the same name.
	data, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	reply, err := d.watch.RequestMsgWithContext(ctx, &nats.Msg{Subject: asked, Data: data})
	if err == nil {
		name = createdName(reply.Data)
	}
	return reply, err
}

// reserve takes room for one more consumer of the key, until made is called, or reports
// that there is none; gone asks whether one is there no more.
func (p *post) reserve(gone func(consumer string) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.consumers)+p.making >= keyReplays {
		for c := range p.consumers {
			if gone(c) {
				delete(p.consumers, c)
			}
		}
	}
	if len(p.consumers)+p.making >= keyReplays {
		return false
	}
	p.making++
	return true
}

// made ends the reservation, with the consumer that was made, "" if none.
func (p *post) made(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.making--
	if name != "" {
		p.consumers[name] = true
	}
}

// owns reports whether the key made the consumer of that name.
func (p *post) owns(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.consumers[name]
}

// createdName reads the stream's answer, "" for a refusal.
func createdName(answer []byte) string {
	var created struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(answer, &created) != nil {
		return ""
	}
	return created.Name
}

func (d *desk) consumerGone(ctx context.Context, name string) bool {
	m, err := d.watch.RequestMsgWithContext(ctx, &nats.Msg{Subject: "$JS.API.CONSUMER.INFO." + streamName + "." + name})
	var info server.JSApiConsumerInfoResponse
	return err == nil && json.Unmarshal(m.Data, &info) == nil && info.Error != nil && info.Error.Code == 404
}

// consumerProblem says why the key may not make that consumer, "" if it may.
func (k Key) consumerProblem(req *server.CreateConsumerRequest) string {
	c := &req.Config
	switch {
	case req.Stream != streamName:
		return "the request names another stream"
	case c.Durable != "":
		return "this key may not make durable consumers; use an ordered or an ephemeral one"
	case c.DeliverSubject != "" && (!strings.HasPrefix(c.DeliverSubject, k.InboxPrefix()+".") || strings.ContainsAny(c.DeliverSubject, "*> \t\r\n")):
		return "permission denied: this key takes delivery under " + k.InboxPrefix() + " only; set that as the inbox prefix"
	case c.Direct || c.Sourcing:
		return "this key may not make consumers of the kind that servers make for themselves"
	case c.Name != "" && !looksRandom(c.Name):
		return "whoever knows a consumer's name may read from it: leave the name out, or make it random, with 16 characters or more"
	case c.SampleFrequency != "":
		return "this key may not have its acknowledgements sampled"
	}
	filters := c.FilterSubjects
	if c.FilterSubject != "" {
		filters = append(filters, c.FilterSubject)
	}
	if len(filters) == 0 && !k.all() {
		return "permission denied: this key sees some events only; name them as filter: " + strings.Join(k.facts(), ", ")
	}
	for _, f := range filters {
		if !k.mayRead(f) {
			return "permission denied: " + f
		}
	}
	return ""
}

// looksRandom reports whether a name may well be one that nobody guesses: a long one, or
// the eight letters and digits that nats.go makes for a client that chose none.
func looksRandom(name string) bool {
	const hashed, long = 8, 16
	return len(name) >= long || len(name) == hashed && !strings.ContainsAny(name, "-_")
}

func (k Key) mayRead(filter string) bool {
	for _, allowed := range k.facts() {
		if bus.Covers(allowed, filter) {
			return true
		}
	}
	return k.all()
}

// apiRefusal is an error as JetStream's API sends it.
func apiRefusal(why string) *nats.Msg {
	data, err := json.Marshal(server.JSApiConsumerCreateResponse{ApiResponse: server.ApiResponse{
		Type: server.JSApiConsumerCreateResponseType, Error: &server.ApiError{Code: 403, ErrCode: 10000, Description: why}}})
	if err != nil {
		return &nats.Msg{}
	}
	return &nats.Msg{Data: data}
}
