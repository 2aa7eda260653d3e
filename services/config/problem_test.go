// SPDX-License-Identifier: MIT OR Apache-2.0

package config_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
)

var update = flag.Bool("update", false, "write the golden texts anew")

// readGolden reads the texts of problems by the name of their test.
func readGolden(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	golden := map[string]string{}
	for section := range strings.SplitSeq("\n"+string(data), "\n== ") {
		name, text, _ := strings.Cut(section, "\n")
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		golden[name] = text
	}
	return golden
}

func TestProblems(t *testing.T) {
	file, err := filepath.Abs("testdata/problems.txt")
	if err != nil {
		t.Fatal(err)
	}
	golden := readGolden(t, file)
	var all strings.Builder
	for _, tt := range []struct {
		name  string
		files []string
		env   []string
		flags map[string]string
	}{
		{name: "nothing"},
		{name: "empty section", files: []string{"[gateway]\n"}},
		{name: "byte order mark and CRLF", files: []string{"\ufeff[gateway]\r\nlisten = \"x\"\r\n"}},
		{name: "key", files: []string{"[gateway]\n\n  lisen = 'x'"}},
		{name: "same twice", files: []string{"gatway.a = 1\ngatway.b = 2\n[bus]\nfoo=1"}},
		{name: "section", files: []string{"[gatway]\nlisten = 'x'\ntls_cert = 'y'"}},
		{name: "other section", files: []string{"listen = 'x'\n[agent]\nformat = 'json'"}},
		{name: "nowhere near", files: []string{"[bus]\nsomething_else = 1"}},
		{name: "beginning", files: []string{"[agent]\nmax_sessions_total = 1"}},
		{name: "entry key", files: []string{"[cost.prices.\"gpt 4.1\"]\ninptu = 1"}},
		{name: "entry name", files: []string{"[cost.prices.\"\"]\ninput = 1"}},
		{name: "wrong case", files: []string{"[gateway]\nListen = 'x'"}},
		{name: "types", files: []string{strings.Join([]string{
			"node = 1",
			"[agent]", "provider = 3", "model = ['a']", "max_sessions = '10'", "allow = 'x'",
			"[gateway]", "listen = 3000", "behind_proxy = 'yes'", "token = 12345", "trusted = 'nobody'",
			"[bus]", "port = 70000", "keep = 30", "listen = 2026-01-02",
			"[cost]", "daily_usd = nan", "[log]", "level = true",
		}, "\n")}},
		{name: "items", files: []string{"[agent]\nprovider = ['a', 1]\nallow = [1, 'two']"}},
		{name: "bounds", files: []string{"[agent]\nmax_sessions = 0\nallow = [1,2,3,4]\n[bus]\nkeep = '30d'\n[cost]\ndaily_usd = -0.5\n[log]\nformat = 'jsn'"}},
		{name: "shape", files: []string{"gateway = 3\n[gateway2]\n[log.level]\nx = 1\n[[bus]]\nlisten = 'x'\n[agent]\nmodel.name = 'x'"}},
		{name: "inline", files: []string{"gateway = { listen = 'x', lisen = 'y' }\ncost.prices = { 'a.b' = { input = 'x' } }"}},
		{name: "long", files: []string{"[agent]\nmax_sessions = '" + strings.Repeat("ä", 50) + "'\nallow = false\n[log]\nformat = 'yaml'"}},
		{name: "deep", files: []string{"[a.b.c.d.e.f.g.h.i.j.k]\nx = 1\n[cost.prices.a.b.c.d.e.f.g.h.i.j.k]\nx = 1"}},
		{name: "syntax", files: []string{"[gateway]\nlisten = 127.0.0.1:3000\n", "[gatway]"}},
		{name: "unfinished", files: []string{"[gateway]\nlisten = \"x\ntoken = 1"}},
		{name: "bare word", files: []string{"[gateway]\ntoken = sk-ant-secret\n"}},
		{name: "duplicate key", files: []string{"[gateway]\nlisten = 'x'\nlisten = 'y'"}},
		{name: "duplicate section", files: []string{"[gateway]\nlisten = 'x'\n[bus]\n[gateway]\ntls_cert = 'y'"}},
		{name: "not UTF-8", files: []string{"[gateway]\nlisten = 'x\xff'"}},
		{name: "too large", files: []string{strings.Repeat("# much ado\n", 1<<17)}},
		{name: "check", files: []string{"[gateway]\ntls_cert = 'x'\n[cost.prices.m]\nfree = true\ninput = 1\n[log]\nlevel='loud'"}},
		{name: "check where", files: []string{"[gateway]\ntls_key = ''\n"}, env: []string{"BLUFIO_GATEWAY__TLS_CERT=x"}},
		{name: "check refused", files: []string{"[gateway]\ntls_cert = 'x'\ntls_key = 1\n"}},
		{name: "environment", env: []string{"BLUFIO_VAULT_KEY=x", "BLUFIO_GATEWAY__LISEN=x", "BLUFIO_AGENT__MAX_SESSIONS=many",
			"BLUFIO____=", "BLUFIO_COST__PRICES=1", "BLUFIO_BUS__LISTEN=\xff", "BLUFIO_LOG__FORMAT=jsno", "BLUFIO_GATEWAY__TRUSTED=x"}},
		{name: "flags", flags: map[string]string{"gateway.lisen": "x", "gatway.listen": "x", "gateway.tls_sert": "x", "log.level": "loud", `cost.prices."a.b".input`: "x", `a"b.c`: "d"}},
		{name: "all at once", files: []string{"[gatway]\n[log]\nlevel = 'loud'", "node = 1"}, env: []string{"BLUFIO_LOG__FROMAT=x"}, flags: map[string]string{"x": "y"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := defaults()
			_, err := config.Load(&cfg, config.Sources{Files: write(t, tt.files...), Environ: tt.env, Prefix: "BLUFIO_", Flags: tt.flags})
			got := ""
			if err != nil {
				got = err.Error() + "\n"
			}
			all.WriteString("== " + tt.name + "\n" + got)
			if want := golden[tt.name]; got != want && !*update {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
	if *update {
		if err := os.WriteFile(file, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFileProblems(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("plain", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, file string
		required   bool
		cause      error
		want       string
	}{
		{name: "missing", file: "none.toml"},
		{name: "missing but named", file: "none.toml", required: true, cause: fs.ErrNotExist, want: "none.toml: cannot be opened: no such file or directory (name a file that is there)"},
		{name: "directory", file: ".", want: ".: is a directory (name the file in it)"},
		{name: "unreadable", file: "plain/x.toml", want: "plain/x.toml: cannot be opened: not a directory (name a file that is there)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := defaults()
			_, err := config.Load(&cfg, config.Sources{Files: []string{tt.file}, Required: tt.required})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Errorf("%v is not %v", err, tt.cause)
			}
		})
	}
}

func TestProblemsAreCounted(t *testing.T) {
	var doc strings.Builder
	for i := range 150 {
		fmt.Fprintf(&doc, "unheard_of_%d = 1\n", i)
	}
	cfg := defaults()
	_, err := config.Load(&cfg, config.Sources{Files: write(t, doc.String())})
	var ps config.Problems
	if !errors.As(err, &ps) {
		t.Fatalf("got %v", err)
	}
	if last := ps[len(ps)-1].Message; len(ps) != 101 || last != "50 more problems" {
		t.Errorf("got %d problems, the last %q", len(ps), last)
	}
}

func TestProblemFields(t *testing.T) {
	cfg := defaults()
	_, err := config.Load(&cfg, config.Sources{Files: write(t, "[bus]\n  prot = 1")})
	var ps config.Problems
	if !errors.As(err, &ps) || len(ps) != 1 {
		t.Fatalf("got %v", err)
	}
	p := ps[0]
	if want := (config.Origin{Source: config.FromFile, Name: "a.toml", Line: 2, Column: 3}); p.Origin != want {
		t.Errorf("origin %+v, want %+v", p.Origin, want)
	}
	if p.Key != "bus.prot" || p.Message != `unknown key "bus.prot"` || p.Hint != `did you mean "bus.port"?` {
		t.Errorf("got %+v", p)
	}
}

// A secret must not come to light through a complaint about it.
func TestProblemsKeepSecrets(t *testing.T) {
	for _, doc := range []string{"token = ['hunter2']", "token = { hunter = 'hunter2' }", "token = hunter2", "tokn = 'hunter2'"} {
		cfg := defaults()
		_, err := config.Load(&cfg, config.Sources{Files: write(t, "[gateway]\n"+doc)})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", doc, err)
		}
	}
}
