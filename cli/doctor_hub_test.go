// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// ownHub is a hub with its stream, and what a daemon on it has to be told.
func ownHub(t *testing.T) (*server.Server, []string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	p := &patient{T: t, dir: t.TempDir()}
	seed, err := pair.Seed()
	p.check(err)
	public, err := pair.PublicKey()
	p.check(err)
	p.write(p.file("leaf.nk"), string(seed))
	ns, url, err := startHub(filepath.Join(p.dir, "hub"), public)
	p.check(err)
	t.Cleanup(ns.Shutdown)
	return ns, []string{"BLUFIO_BUS__LEAF__URL=" + url, "BLUFIO_BUS__LEAF__SEED_FILE=" + p.file("leaf.nk"), "BLUFIO_DAEMON__NODE=kitchen"}
}

// untilStatus waits for the daemon to say something of itself.
func (p *patient) untilStatus(text string) {
	p.Helper()
	var out []byte
	bustest.Eventually(p, "the status has "+text, func() bool {
		out, _ = p.command("status", "--json").Output() // degraded has a code of its own
		return strings.Contains(string(out), text)
	}, func() any { return string(out) })
}

func TestDoctorFindsWhatIsWrongWithAHub(t *testing.T) {
	t.Parallel()
	gone, away := ownHub(t)
	bare, alone := ownHub(t)
	_, shared := ownHub(t)
	for _, b := range []breakage{
		{name: "it is gone", up: true, set: away, id: "BLF-HUB-001", level: bus.LevelWarn, seen: "the hub is not reached", fix: "bus.leaf.url",
			sick: func(p *patient) { gone.Shutdown(); p.untilStatus(`"hub_away"`) }},
		{name: "its stream is gone", up: true, set: alone, id: "BLF-HUB-002", seen: "no stream on the hub keeps this daemon's events", fix: "nats stream add",
			pre: func(p *patient) { dropStream(p, bare) }, sick: func(p *patient) { p.untilStatus(`"hub_stream"`) }},
		{name: "another daemon has the name", up: true, set: shared, id: "BLF-HUB-003", seen: "called kitchen too", fix: "daemon.node",
			sick: func(p *patient) {
				other := newPatient(p.T, shared...)
				other.start()
				p.untilStatus(`"hub_name"`)
			}},
	} {
		b.run(t)
	}
}

func dropStream(p *patient, hub *server.Server) {
	nc, err := nats.Connect(hub.ClientURL(), nats.UserInfo("owner", "owner"))
	p.check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	p.check(err)
	p.check(js.DeleteStream(p.Context(), bus.NodeStream))
}
