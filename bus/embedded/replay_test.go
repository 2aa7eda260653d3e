// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats-server/v2/server"
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
