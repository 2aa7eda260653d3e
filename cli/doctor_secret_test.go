// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

const vaultedKey = "sk-vault-0123456789abcdef"

// keep puts a secret into the vault, of the daemon or of the directory.
func (p *patient) keep(name, text string) {
	p.Helper()
	cmd := p.command("config", "set-secret", name)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.Fatalf("set-secret: %v, %s", err, out)
	}
}

// keeping is an installation whose model's key is in the vault.
func keeping(p *patient) {
	p.Helper()
	if _, err := os.Stat(p.file("blufio.db")); err != nil {
		p.runOnce()
	}
	p.keep("openai.api_key", vaultedKey)
}

// and does one thing after the other.
func and(steps ...func(*patient)) func(*patient) {
	return func(p *patient) {
		p.Helper()
		for _, step := range steps {
			step(p)
		}
	}
}

func TestDoctorFindsWhatIsWrongWithSecrets(t *testing.T) {
	t.Parallel()
	v := vendors(t, func(v *fakellm.Vendors) { v.OpenAI.RequireKey(vaultedKey) })
	plain := []string{"BLUFIO_AGENT__PROVIDER=openai", "BLUFIO_OPENAI__BASE_URL=" + v.OpenAI.URL()}
	strange := append(slices.Clone(plain), "BLUFIO_VAULT_KEY=another passphrase")
	lost := func(p *patient) { p.check(os.Remove(p.file("vault.key"))) }
	exchanged := func(p *patient) {
		p.write(p.file("vault.key"), "dGhpcyBpcyB0aGUga2V5IG9mIGFub3RoZXIgdmF1bHQ=\n")
	}
	damaged := func(p *patient) {
		p.sql("UPDATE vault_secrets SET ciphertext = zeroblob(60) WHERE name = 'openai.api_key'")
	}
	passphrase := func(p *patient) {
		right := append(slices.Clone(p.env), "BLUFIO_VAULT_KEY=the right passphrase")
		own := p.env
		p.env = right
		keeping(p)
		p.env = own
	}
	clear := func(p *patient) { p.write(p.toml, "[openai]\napi_key = \"sk-nobody-at-all\"\n") }
	openBoth := func(p *patient) { clear(p); p.check(os.Chmod(p.toml, 0o644)) }
	const back, again = "put the right vault.key back", "config set-secret openai.api_key"
	for _, b := range []breakage{
		{name: "no vault.key", set: plain, sick: and(keeping, lost), id: "BLF-VLT-001", seen: "vault.key in the data directory, which is not there", fix: back},
		{name: "no vault.key at the start", up: true, set: plain, pre: and(keeping, lost), id: "BLF-VLT-001", seen: "which is not there", fix: back},
		{name: "another's vault.key", set: plain, sick: and(keeping, exchanged), id: "BLF-VLT-001", seen: "vault.key in the data directory does not open the vault", fix: back},
		{name: "another's vault.key at the start", up: true, set: plain, pre: and(keeping, exchanged), id: "BLF-VLT-001", seen: "does not open the vault", fix: back},
		{name: "a wrong passphrase", set: strange, sick: passphrase, id: "BLF-VLT-001", seen: "BLUFIO_VAULT_KEY does not open the vault", fix: "to the right passphrase"},
		{name: "no passphrase at the start", up: true, set: plain, pre: passphrase, id: "BLF-VLT-001", seen: "BLUFIO_VAULT_KEY, which is not there", fix: "to the right passphrase"},
		{name: "an open vault.key", set: plain, sick: and(keeping, func(p *patient) { p.chmod("vault.key", 0o644) }), id: "BLF-VLT-001", seen: "open to others (mode 0644)", fix: back},
		{name: "a damaged secret", set: plain, sick: and(keeping, damaged), id: "BLF-VLT-001", seen: "openai.api_key", fix: again, args: []string{"--deep"}},
		{name: "a damaged secret at the start", up: true, set: plain, pre: and(keeping, damaged), id: "BLF-VLT-001", seen: "openai.api_key", fix: again},
		{name: "a secret damaged while the daemon runs", up: true, set: plain, sick: and(keeping, damaged), id: "BLF-VLT-003", seen: "openai.api_key", fix: again, args: []string{"--deep"}},
		{name: "vault.key lost while the daemon runs", up: true, set: plain, sick: and(keeping, lost), id: "BLF-VLT-001", level: bus.LevelWarn, seen: "would not be after a restart", fix: "rotate-vault-key"},
		{name: "an open vault.key while the daemon runs", up: true, set: plain, sick: and(keeping, func(p *patient) { p.chmod("vault.key", 0o644) }), id: "BLF-VLT-001", level: bus.LevelWarn, seen: "open to others (mode 0644)", fix: "rotate-vault-key"},
		{name: "a key beside what it protects", up: true, set: plain, sick: keeping, id: "BLF-VLT-002", level: bus.LevelInfo, seen: "vault.key lies in the data directory", fix: "rotate-vault-key"},
		{name: "a wrong key in the vault", set: plain, sick: func(p *patient) { p.keep("openai.api_key", "sk-somebody-else-0123") }, id: "BLF-LLM-001", seen: "does not accept the API key (HTTP 401)", fix: "openai.api_key"},
		{name: "a secret in a file", sick: clear, id: "BLF-CFG-004", level: bus.LevelWarn, seen: "blufio.toml:2:1: \"openai.api_key\" is a secret", fix: again},
		{name: "a secret in a file while the daemon runs", up: true, pre: clear, id: "BLF-CFG-004", level: bus.LevelWarn, seen: "blufio.toml:2:1: \"openai.api_key\" is a secret", fix: again},
		{name: "a secret in a file and in the vault", sick: and(keeping, clear), id: "BLF-CFG-004", level: bus.LevelWarn, seen: "the vault has one that counts more", fix: "delete the line"},
		{name: "a secret in a file that others may read", sick: openBoth, id: "BLF-CFG-003", level: bus.LevelWarn, seen: "may read", fix: "chmod 600"},
		{name: "no key for the provider any more", up: true, sick: func(p *patient) { p.write(p.toml, "[agent]\nprovider = \"openai\"\n") }, id: "BLF-CFG-001", seen: "needs a key", fix: again},
	} {
		b.run(t)
	}
}

// Of a key that is not there nobody says that it lies beside the database.
func TestDoctorMissesTheVaultsKey(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	keeping(p)
	p.check(os.Remove(p.file("vault.key")))
	_, report := p.doctor("--only", "BLF-VLT-002")
	for _, f := range report.Findings {
		if f.ID == "BLF-VLT-002" && (f.Level != bus.LevelSkip || f.Seen != "see BLF-VLT-001") {
			t.Errorf("it says %s: %s", f.Level, f.Seen)
		}
	}
}

// Without a daemon its model is asked with the key from the vault, which is only read.
func TestDoctorUsesTheVault(t *testing.T) {
	t.Parallel()
	v := vendors(t, func(v *fakellm.Vendors) { v.OpenAI.RequireKey(vaultedKey) })
	p := newPatient(t, "BLUFIO_AGENT__PROVIDER=openai", "BLUFIO_OPENAI__BASE_URL="+v.OpenAI.URL())
	keeping(p)
	before := p.leftBehind()
	_, report := p.doctor("--deep")
	for _, want := range []struct{ id, seen string }{{"BLF-LLM-001", "and takes the key"}, {"BLF-VLT-001", "1 secret, locked with vault.key"}, {"BLF-VLT-003", "all 1 do"}} {
		if f := findingOf(report, want.id); f.Level != bus.LevelOK || !strings.Contains(f.Seen, want.seen) {
			t.Errorf("%+v, want %q", f, want.seen)
		}
	}
	after := p.leftBehind()
	for name, data := range before {
		if string(after[name]) != string(data) {
			t.Errorf("%s was changed", name)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok && !strings.HasPrefix(name, "blufio.db-") { // SQLite's own
			t.Errorf("%s was made", name)
		}
	}
}

// What only the daemon's environment has is no trouble of the shell that doctor is called
// from.
func TestDoctorWithoutTheDaemonsPassphrase(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "BLUFIO_AGENT__PROVIDER=openai", "BLUFIO_OPENAI__BASE_URL=http://127.0.0.1:1")
	shell := p.env
	p.env = append(slices.Clone(p.env), "BLUFIO_VAULT_KEY=the right passphrase")
	keeping(p)
	p.env = shell
	code, report := p.doctor()
	breakage{id: "BLF-VLT-001", level: bus.LevelSkip, seen: "which only the daemon has"}.judge(t, code, report)
	if f := findingOf(report, "BLF-LLM-001"); f.Level != bus.LevelSkip || !strings.Contains(f.Seen, "see BLF-VLT-001") {
		t.Errorf("%+v", f)
	}
}

func findingOf(r bus.DoctorReport, id string) bus.Finding {
	i := slices.IndexFunc(r.Findings, func(f bus.Finding) bool { return f.ID == id })
	if i < 0 {
		return bus.Finding{}
	}
	return r.Findings[i]
}

// A vault that is still open survives the loss of its key, as its finding says.
func TestVaultSurvivesTheLossOfItsKey(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.start()
	p.keep("openai.api_key", vaultedKey)
	p.check(os.Remove(p.file("vault.key")))
	p.check(p.command("config", "rotate-vault-key").Run())
	if code, report := p.doctor("--deep"); code != exitOK {
		t.Errorf("exit code %d, %+v", code, report)
	}
}
