// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

// TestConfigGetKeepsSecrets: neither alone nor among others, in no format.
func TestConfigGetKeepsSecrets(t *testing.T) {
	type section struct {
		Key   config.Secret     `koanf:"key" doc:"A secret."`
		Unset config.Secret     `koanf:"unset" doc:"A secret."`
		Hosts config.StringList `koanf:"hosts" doc:"Some hosts."`
	}
	var cfg struct {
		Model section `koanf:"model" doc:"A section."`
	}
	l, err := config.Load(&cfg, config.Sources{Flags: map[string]string{"model.key": "sesame", "model.hosts": "a,b"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{false, true} {
		for key, want := range map[string]string{"model.key": "redacted", "model.unset": "", "model.hosts": "a", "model": "redacted"} {
			var out bytes.Buffer
			a := &app{out: &out, json: asJSON}
			if err := a.printKey(&cobra.Command{}, serve.Effective{Loaded: l}, key, false); err != nil {
				t.Errorf("%s: %v", key, err)
			}
			if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "sesame") {
				t.Errorf("%s: %s", key, &out)
			}
		}
	}
}

// A slip in the name of a key is met with the key, or the section, that was meant.
func TestConfigGetSuggests(t *testing.T) {
	for key, want := range map[string]string{"gatway.listen": "gateway.listen", "hook": "hooks", "bus.leaf.ur": "bus.leaf.url", "nothing-like-it": ""} {
		var said strings.Builder
		code := Main([]string{"config", "get", key}, os.Stdin, &strings.Builder{}, &said, nil)
		if hinted := strings.Contains(said.String(), "did you mean "+want+"?"); code != exitUsage || hinted != (want != "") {
			t.Errorf("%s: exit code %d: %s", key, code, &said)
		}
	}
}

func TestDataDirectory(t *testing.T) {
	for name, c := range map[string]struct {
		flag    string
		environ []string
		want    string
	}{
		"flag":    {"/flag", []string{"STATE_DIRECTORY=/state", "HOME=/home/me"}, "/flag"},
		"systemd": {"", []string{"STATE_DIRECTORY=/state:/other", "HOME=/home/me"}, "/state"},
	} {
		a := &app{dataDir: c.flag, environ: c.environ}
		if got, err := a.data(); err != nil || got != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for want, environ := range map[string][]string{
		"/xdg/x":           {"XDG_DATA_HOME=/xdg/x", "HOME=/home/me"},
		"/home/me/.local":  {"XDG_DATA_HOME=relative", "HOME=/home/me"},
		"/home/me/.local/": {"HOME=/other", "HOME=/home/me"},
		"":                 {},
	} {
		a := &app{environ: environ}
		if got := a.userDir("XDG_DATA_HOME", ".local"); got != strings.TrimSuffix(want, "/") {
			t.Errorf("%v: %q, want %q", environ, got, want)
		}
	}
}
