// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

var longAgo = time.Unix(1_000_000_000, 0)

const badTOML = "[gateway]\nlissten = \"127.0.0.1:0\"\n"

func TestDoctorFindsBrokenConfiguration(t *testing.T) {
	t.Parallel()
	for _, b := range []breakage{
		{name: "a wrong key", sick: func(p *patient) { p.write(p.toml, badTOML) },
			id: "BLF-CFG-001", seen: "blufio.toml:2:1: unknown key \"gateway.lissten\"", fix: `did you mean "gateway.listen"?`},
		{name: "a wrong key while the daemon runs", up: true, sick: func(p *patient) { p.write(p.toml, badTOML) },
			id: "BLF-CFG-001", seen: "unknown key \"gateway.lissten\"", fix: `did you mean`},
		{name: "two unknown keys", sick: func(p *patient) { p.write(p.toml, "[gateway]\nlissten = 1\nmax_waitt = 2\n") },
			id: "BLF-CFG-001", seen: "unknown key \"gateway.max_waitt\"", fix: "`blufio config validate`"},
		{name: "bad TOML", sick: func(p *patient) { p.write(p.toml, "[gateway\n") },
			id: "BLF-CFG-001", seen: "blufio.toml:1:"},
		{name: "a wrong variable", sick: func(p *patient) { p.env = append(p.env, "BLUFIO_GATEWAY__LISSTEN=x") },
			id: "BLF-CFG-001", seen: "environment BLUFIO_GATEWAY__LISSTEN", fix: "did you mean"},
		{name: "no key for the provider", sick: func(p *patient) { p.write(p.toml, "[agent]\nprovider = \"openai\"\n") },
			id: "BLF-CFG-001", seen: "needs a key", fix: "blufio config set-secret openai.api_key"},
		{name: "no such file", sick: func(p *patient) { p.check(os.Remove(p.toml)) },
			id: "BLF-CFG-001", seen: "blufio.toml"},
		{name: "a change the daemon does not know", up: true, sick: func(p *patient) { p.write(p.toml, "[agent]\nname = \"other\"\n") },
			id: "BLF-CFG-002", level: bus.LevelWarn, seen: "agent.name", fix: "restart"},
		{name: "changes of both kinds", up: true, sick: func(p *patient) { p.write(p.toml, "[agent]\nmax_outbox = 100\n[cost]\ndaily_usd = 7\n") },
			id: "BLF-CFG-002", level: bus.LevelWarn, seen: "agent.max_outbox, cost.daily_usd", fix: "for cost.daily_usd `blufio config reload` is enough"},
		{name: "a key that others may read", sick: func(p *patient) {
			p.write(p.toml, "[openai]\napi_key = \"sk-nobody\"\n")
			p.check(os.Chmod(p.toml, 0o644))
		}, id: "BLF-CFG-003", level: bus.LevelWarn, seen: "may read", fix: "chmod 600"},
	} {
		b.run(t)
	}
}

func TestDoctorFindsBrokenFiles(t *testing.T) {
	t.Parallel()
	for _, b := range []breakage{
		{name: "an open directory", sick: func(p *patient) { p.chmod("", 0o755) },
			id: "BLF-FILE-001", seen: "mode 0755", fix: "chmod 700"},
		{name: "an open directory while the daemon runs", up: true, sick: func(p *patient) { p.chmod("", 0o755) },
			id: "BLF-FILE-001", seen: "mode 0755", fix: "chmod 700", code: exitFailed},
		{name: "an open device key", sick: func(p *patient) { p.chmod("device.nk", 0o644) },
			id: "BLF-FILE-002", seen: "mode 0644", fix: "chmod 600"},
		{name: "an open device key while the daemon runs", up: true, sick: func(p *patient) { p.chmod("device.nk", 0o644) },
			id: "BLF-FILE-002", seen: "mode 0644", fix: "chmod 600", code: exitFailed},
		{name: "no device key", sick: func(p *patient) { p.check(os.Remove(p.file("device.nk"))) },
			id: "BLF-FILE-002", seen: "missing", fix: "restore"},
		{name: "not a device key", sick: func(p *patient) { p.write(p.file("device.nk"), "SUnothing\n") },
			id: "BLF-FILE-002", seen: "not a device key", fix: "restore"},
		{name: "a link to a device key", sick: func(p *patient) {
			p.check(os.Rename(p.file("device.nk"), p.toml+".nk"))
			p.check(os.Symlink(p.toml+".nk", p.file("device.nk")))
		}, id: "BLF-FILE-002", seen: "symbolic link", fix: "put the key itself"},
		{name: "an open database file", sick: func(p *patient) { p.chmod("blufio.db", 0o644) },
			id: "BLF-FILE-004", level: bus.LevelWarn, seen: "blufio.db", fix: "--fix"},
		{name: "leftovers", sick: func(p *patient) {
			p.write(p.file(".device-1"), "")
			p.check(os.Chtimes(p.file(".device-1"), longAgo, longAgo))
		}, id: "BLF-FILE-005", level: bus.LevelInfo, seen: ".device-1", fix: "--fix"},
		{name: "the draft of a vault key", sick: func(p *patient) {
			p.write(p.file(".vault-1"), "")
			p.check(os.Chtimes(p.file(".vault-1"), longAgo, longAgo))
		}, id: "BLF-FILE-005", level: bus.LevelInfo, seen: ".vault-1", fix: "--fix"},
	} {
		b.run(t)
	}
}

func TestDoctorFindsBrokenDatabases(t *testing.T) {
	t.Parallel()
	garbage := make([]byte, 4096)
	for i := range garbage {
		garbage[i] = byte(i*7 + 3)
	}
	for _, b := range []breakage{
		{name: "not a database", sick: func(p *patient) { p.overwrite("blufio.db", 0, garbage) },
			id: "BLF-DB-001", seen: "damaged", fix: "restore a backup"},
		{name: "another program's database", sick: func(p *patient) { p.sql("PRAGMA application_id = 7") },
			id: "BLF-DB-001", seen: "not a blufio database", fix: "move the file away"},
		{name: "a damaged page", sick: func(p *patient) { p.overwrite("blufio.db", 4096*4, garbage) },
			id: "BLF-DB-001", seen: "damaged", fix: "restore a backup"},
		{name: "cut off", sick: func(p *patient) { p.check(os.Truncate(p.file("blufio.db"), 50)) },
			id: "BLF-DB-001", seen: "cut off", fix: "restore a backup"},
		{name: "of a newer version", sick: func(p *patient) { p.sql("UPDATE blufio_schema SET version = 99 WHERE room = 'agent'") },
			id: "BLF-DB-001", seen: "newer than this program: it needs blufio ", fix: "or a later one"},
		{name: "a log without its database", sick: func(p *patient) {
			p.check(os.Remove(p.file("blufio.db")))
			p.write(p.file("blufio.db-wal"), "log")
		}, id: "BLF-DB-001", seen: "missing", fix: "restore a backup"},
		{name: "not a database, looked at closely", args: []string{"--deep"}, sick: func(p *patient) { p.overwrite("blufio.db", 0, garbage) },
			id: "BLF-DB-001", seen: "damaged", fix: "restore a backup"},
		{name: "cut off, looked at closely", args: []string{"--deep"}, sick: func(p *patient) { p.check(os.Truncate(p.file("blufio.db"), 50)) },
			id: "BLF-DB-001", seen: "cut off", fix: "restore a backup"},
		{name: "another program's database, looked at closely", args: []string{"--deep"}, sick: func(p *patient) { p.sql("PRAGMA application_id = 7") },
			id: "BLF-DB-001", seen: "not a blufio database", fix: "move the file away"},
		{name: "of a newer version, looked at closely", args: []string{"--deep"}, sick: func(p *patient) { p.sql("UPDATE blufio_schema SET version = 99 WHERE room = 'agent'") },
			id: "BLF-DB-001", seen: "newer than this program: it needs blufio ", fix: "or a later one"},
		{name: "rows without their parents", args: []string{"--deep"},
			sick: func(p *patient) {
				p.sql("PRAGMA foreign_keys = 0; INSERT INTO outbox (seq, session_id, created_at, state) VALUES (77, 1, 0, 'gone')")
			},
			id: "BLF-DB-003", seen: "rows of outbox refer", fix: "restore a backup"},
		{name: "rows without their parents while the daemon runs", up: true, args: []string{"--deep"},
			pre: func(p *patient) {
				p.runOnce()
				p.sql("PRAGMA foreign_keys = 0; INSERT INTO outbox (seq, session_id, created_at, state) VALUES (77, 1, 0, 'gone')")
			},
			id: "BLF-DB-003", seen: "rows of outbox refer", fix: "restore a backup"},
	} {
		b.run(t)
	}
}

// A variable that only the daemon has is no trouble of the shell that doctor is called
// from.
func TestDoctorReadsTheDaemonsEnvironment(t *testing.T) {
	t.Parallel()
	v := vendors(t, nil)
	p := newPatient(t)
	p.write(p.toml, "[agent]\nprovider = \"openai\"\n[openai]\nbase_url = \""+v.OpenAI.URL()+"\"\n[cost]\ndaily_usd = 1\n")
	shell := p.env
	p.env = append(slices.Clone(p.env), "BLUFIO_AGENT__MODEL=gpt-4o-mini", "BLUFIO_OPENAI__API_KEY=sk-test-0123456789abcdef")
	v.OpenAI.RequireKey("sk-test-0123456789abcdef")
	p.start()
	p.env = append(shell, "BLUFIO_AGENT__MODEL=of-no-price")
	if code, report := p.doctor(); code != exitOK {
		t.Errorf("exit code %d, %+v", code, report.Findings)
	}
}
