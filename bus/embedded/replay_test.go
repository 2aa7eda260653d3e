// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// FuzzConsumer: whatever passes the desk delivers to the key's own inbox, shows what the
// key may see, and goes by itself; also for one who reads the request as the desk wrote it.
func FuzzConsumer(f *testing.F) {
	for _, s := range []string{
		`{"stream_name":"EVENTS","config":{"deliver_subject":"_INBOX.own.x","filter_subject":"blufio.v1.evt.turn.completed"}}`,
		`{"stream_name":"EVENTS","config":{"filter_subjects":["blufio.v1.evt.turn.*"],"durable_name":"d"}}`,
		`{"stream_name":"EVENTS","config":{"deliver_subject":"$JS.API.STREAM.PURGE.EVENTS","headers_only":true}}`,
		`{"stream_name":"EVENTS","config":{"deliver_subject":"_INBOX.own.x","Deliver_Subject":"x"}}`,
		`{"config":null}`, `[]`, ``,
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, body string, narrow bool) {
		k := Key{Name: "own", Role: bus.RoleObserver, Inbox: "own"}
		if narrow {
			k.AllowSub = []string{"blufio.v1.evt.turn.*"}
		}
		var req server.CreateConsumerRequest
		if json.Unmarshal([]byte(body), &req) != nil || k.consumerProblem(&req) != "" {
			return
		}
		data, err := json.Marshal(req)
		if err != nil {
			return
		}
		var sent server.CreateConsumerRequest
		if err := json.Unmarshal(data, &sent); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		c := sent.Config
		if c.DeliverSubject != "" && (!strings.HasPrefix(c.DeliverSubject, "_INBOX.own.") || strings.ContainsAny(c.DeliverSubject, "*>")) {
			t.Errorf("delivers to %q", c.DeliverSubject)
		}
		if c.Durable != "" || sent.Stream != streamName {
			t.Errorf("passed: %s", data)
		}
		filters := append(c.FilterSubjects, c.FilterSubject)
		for _, filter := range filters {
			if narrow && filter != "" && !bus.Covers("blufio.v1.evt.turn.*", filter) {
				t.Errorf("shows %q", filter)
			}
		}
		if narrow && strings.Join(filters, "") == "" {
			t.Errorf("shows everything: %s", data)
		}
	})
}

// A key's consumers are counted whatever its holder does: many at once, impatiently, or
// of the kind that the stream itself does not count. And those of others it cannot change.
func TestConsumersAreCountedAndOnesOwn(t *testing.T) {
	s, e := startWithEvents(t, nil)
	k, nc := issue(t, s, bus.RoleObserver, "one")
	other, from := issue(t, s, bus.RoleObserver, "narrow", hears("blufio.v1.evt.turn.*"))
	create := func(nc *nats.Conn, name, timeout, config string) string {
		m := nats.NewMsg(apiCreate)
		if name != "" {
			m.Subject += "." + name
		}
		if m.Data = []byte(`{"stream_name":"EVENTS","config":{"ack_policy":"none",` + config + `}}`); timeout != "" {
			m.Header.Set(bus.HeaderTimeout, timeout)
		}
		reply, err := nc.RequestMsgWithContext(deadline(t), m)
		if err != nil {
			return err.Error()
		}
		return string(reply.Data)
	}
	const long = "mine-with-a-long-name"
	to := func(k holderOf) string { return fmt.Sprintf(`"deliver_subject":"%s.x"`, k.InboxPrefix()) }
	if got := create(nc, "", "", `"direct":true,`+to(k)); !strings.Contains(got, "403") {
		t.Errorf("direct: %s", got)
	}
	if got := create(nc, long, "", `"name":"`+long+`",`+to(k)); strings.Contains(got, "error") {
		t.Errorf("make: %s", got)
	}
	if got := create(from, long, "", `"name":"`+long+`","filter_subject":"blufio.v1.evt.turn.*",`+to(other)); !strings.Contains(got, "error") {
		t.Errorf("another key's consumer was changed: %s", got)
	}
	if got := create(nc, long, "", `"name":"`+long+`","description":"again",`+to(k)); strings.Contains(got, "error") {
		t.Errorf("change one's own: %s", got)
	}
	for range 4 {
		var round sync.WaitGroup
		for range keyWork - 1 {
			round.Go(func() { create(nc, "", "300us", `"inactive_threshold":300000000000`) })
		}
		round.Wait()
	}
	info, err := e.stream.Load().Info(deadline(t))
	if err != nil || info.State.Consumers > keyReplays {
		t.Errorf("one key has %d consumers, %v", info.State.Consumers, err)
	}
}
