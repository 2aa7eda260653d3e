// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/config"
	"github.com/nats-io/nkeys"
)

// What cannot be joined is refused before anything runs, key by key, with a hint.
func TestHubConfigIsChecked(t *testing.T) {
	const good = "[daemon]\nnode = \"kitchen\"\n[bus.leaf]\nurl = \"tls://hub\"\nseed_file = \"/x/leaf.nk\"\n"
	for name, tt := range map[string]struct {
		text, key, message string
	}{
		"good":               {good, "", ""},
		"no hub":             {"[daemon]\nnode = \"Any Name.local\"\n", "", ""},
		"a name with a dot":  {strings.Replace(good, "kitchen", "kitchen.local", 1), "daemon.node", "cannot be a name on a hub"},
		"in clear":           {strings.Replace(good, "tls://hub", "nats-leaf://hub", 1), "bus.leaf.url", "needs tls://"},
		"in clear, loopback": {strings.Replace(good, "tls://hub", "nats-leaf://127.0.0.1:7422", 1), "", ""},
		"no key":             {strings.Replace(good, "/x/leaf.nk", "", 1), "bus.leaf.seed_file", "admits nobody"},
		"no address":         {strings.Replace(good, "tls://hub", "", 1), "bus.leaf.url", "there is a seed_file"},
		"unknown key":        {good + "sead_file = 1\n", "bus.leaf.sead_file", "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "blufio.toml")
			check(t, os.WriteFile(file, []byte(tt.text), 0o600))
			_, _, err := Load(config.Sources{Files: []string{file}})
			if tt.key == "" {
				check(t, err)
				return
			}
			problems, _ := err.(config.Problems)
			if len(problems) != 1 || problems[0].Key != tt.key || !strings.Contains(problems[0].Message, tt.message) || problems[0].Hint == "" {
				t.Errorf("%+v (%v)", problems, err)
			}
		})
	}
}

// The key of the hub is taken out of text like every other secret.
func TestHubKeyIsKnown(t *testing.T) {
	pair, err := nkeys.CreateUser()
	check(t, err)
	seed, err := pair.Seed()
	check(t, err)
	file := filepath.Join(t.TempDir(), "leaf.nk")
	check(t, os.WriteFile(file, seed, 0o600))
	o := Options{Config: Defaults(), Logger: bustest.Logger(t), Redactor: &config.Redactor{}}
	o.Config.Daemon.Node, o.Config.Bus.Leaf.URL, o.Config.Bus.Leaf.SeedFile = "kitchen", "tls://hub", file
	_, err = o.leaf()
	check(t, err)
	if got := o.Redactor.Redact("refused " + string(seed)); strings.Contains(got, string(seed)) {
		t.Error(got)
	}
}
