// SPDX-License-Identifier: MIT OR Apache-2.0

package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
)

// FuzzLoad feeds anything as file, environment and flags: no panic, and no problem
// that points outside the file.
func FuzzLoad(f *testing.F) {
	f.Add("[gateway]\nlisten = 'x'\n", "GATEWAY__LISTEN=x", "log.level", "x")
	f.Add("[cost.prices.\"a.b\"]\ninput = 1\n", "COST__PRICES__x__INPUT=1", `cost.prices."a.b".input`, "2")
	f.Add("gateway = { lisen = 1 }\n[[bus]]\nport = 1\n", "__=", `"a".b`, "")
	f.Add("[agent]\nprovider = ['a',\n1]\nallow = [1,2,3,4]", "AGENT__ALLOW=1,2,x", "bus.keep", "1w2d")
	f.Add("\ufeffnode = \"\\u0000\"", "BUS__PORT=-1", ".", ",")
	f.Add("a.b = 1\na = 2", "", "", "")
	f.Fuzz(func(t *testing.T, doc, env, key, value string) {
		name := filepath.Join(t.TempDir(), "f.toml")
		if err := os.WriteFile(name, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := defaults()
		l, err := config.Load(&cfg, config.Sources{
			Files: []string{name}, Environ: []string{"BLUFIO_" + env}, Prefix: "BLUFIO_", Flags: map[string]string{key: value},
		})
		if err == nil {
			for _, key := range l.Keys() {
				if _, ok := l.Get(key); !ok {
					t.Errorf("no value for %s", key)
				}
			}
			return
		}
		var ps config.Problems
		if !errors.As(err, &ps) || len(ps) == 0 {
			t.Fatalf("got %v", err)
		}
		lines := strings.Split(strings.TrimPrefix(doc, "\ufeff"), "\n")
		for _, p := range ps {
			o := p.Origin
			if p.Message == "" || o.Source == config.FromDefault {
				t.Errorf("got %+v", p)
			}
			if o.Source == config.FromFile && (o.Line < 1 || o.Line > len(lines) || o.Column < 1 || o.Column > len(lines[o.Line-1])+1) {
				t.Errorf("%d:%d is not in the file: %s", o.Line, o.Column, p)
			}
		}
	})
}
