// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
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
