// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
)

// Whoever changes the database gets nothing out of it: no value under another name, no
// cheap guessing, no eaten memory.
func TestTampering(t *testing.T) {
	flip := func(table, column, where string) string {
		return fmt.Sprintf(`UPDATE %s SET %s = CAST(CASE substr(%[2]s, 1, 1) WHEN x'FF' THEN x'00' ELSE x'FF' END || substr(%[2]s, 2) AS BLOB) %s`, table, column, where)
	}
	one := `WHERE name = 'a'`
	for name, c := range map[string]struct{ sql, code string }{
		"rows swapped":    {`UPDATE vault_secrets SET name = 'x' WHERE name = 'a'; UPDATE vault_secrets SET name = 'a' WHERE name = 'b'; UPDATE vault_secrets SET name = 'b' WHERE name = 'x'`, "vault_secret,vault_secret"},
		"row renamed":     {`UPDATE vault_secrets SET name = 'c' WHERE name = 'a'`, "vault_secret"},
		"row copied":      {`INSERT INTO vault_secrets SELECT 'c', nonce, ciphertext, set_at FROM vault_secrets WHERE name = 'a'`, "vault_secret"},
		"ciphertext":      {flip("vault_secrets", "ciphertext", one), "vault_secret"},
		"no ciphertext":   {`UPDATE vault_secrets SET ciphertext = x'' ` + one, "vault_secret"},
		"nonce":           {flip("vault_secrets", "nonce", one), "vault_secret"},
		"long nonce":      {`UPDATE vault_secrets SET nonce = zeroblob(64) ` + one, "vault_secret"},
		"no nonce":        {`UPDATE vault_secrets SET nonce = x'' ` + one, "vault_secret"},
		"wrapped key":     {flip("vault_key", "wrapped", ""), "vault_locked"},
		"its nonce":       {flip("vault_key", "nonce", ""), "vault_locked"},
		"its short nonce": {`UPDATE vault_key SET nonce = x'00'`, "vault_locked"},
		"salt":            {flip("vault_key", "salt", ""), "vault_locked"},
		"no salt":         {`UPDATE vault_key SET salt = x''`, "vault_locked"},
		"large salt":      {`UPDATE vault_key SET salt = zeroblob(1000000)`, "vault_locked"},
		"kdf":             {`UPDATE vault_key SET kdf = 'md5'`, "vault_locked"},
		"other kdf":       {`UPDATE vault_key SET kdf = 'argon2id', passes = 3, memory_kib = 65536, lanes = 4`, "vault_locked"},
		"source":          {`UPDATE vault_key SET source = 'credential'`, "vault_locked"},
		"unknown source":  {`UPDATE vault_key SET source = 'nowhere'`, "vault_locked"},
		"parameters":      {`UPDATE vault_key SET passes = 1`, "vault_locked"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			v := r.open()
			r.set(v, "a", planted)
			r.set(v, "b", "of b")
			r.exec(c.sql)
			v = r.open()
			if code(v) != c.code {
				t.Errorf("problems %q, want %q", code(v), c.code)
			}
			for _, name := range []string{"a", "c"} {
				if c.sql[:6] == "INSERT" && name == "a" {
					continue // the row itself is well
				}
				if got, _ := v.Secret(name, config.Secret{}).Open(); got != "" {
					t.Errorf("%s is %q", name, got)
				}
			}
			if c.code == "vault_secret" {
				r.want(v, "b", "of b")
				if _, err := v.Rotate(t.Context(), bus.VaultRotation{}); bus.CodeOf(err) != bus.CodeUnavailable {
					t.Errorf("rotated what cannot be read: %v", err)
				}
				for _, s := range v.List().Secrets {
					if s.Unreadable {
						r.set(v, s.Name, "anew")
						r.want(v, s.Name, "anew")
					}
				}
				if code(v) != "" {
					t.Error(code(v))
				}
			}
		})
	}
}

// Parameters outside of the bounds are refused before anything is computed.
func TestArgonParameters(t *testing.T) {
	r := newRig(t)
	environ := PassphraseVariable + "=correct horse"
	r.set(r.open(environ), "a", planted)
	for _, change := range []string{"passes = 2", "passes = 9", "passes = -3", "memory_kib = 65535", "memory_kib = 4000000", "lanes = 3", "lanes = 255", "passes = 4294967299"} {
		r.exec(`UPDATE vault_key SET passes = 3, memory_kib = 65536, lanes = 4`)
		r.exec(`UPDATE vault_key SET ` + change)
		if v := r.open(environ); code(v) != "vault_locked" || v.derived != 0 {
			t.Errorf("%s: %q, %d derivations", change, code(v), v.derived)
		}
	}
	r.exec(`UPDATE vault_key SET passes = 4, memory_kib = 65536, lanes = 4`) // within the bounds, and not what it was
	if v := r.open(environ); code(v) != "vault_locked" {
		t.Error("changed parameters open the vault")
	}
}

// Argon2id runs once in a process, whatever is done, and leaves no memory behind.
func TestArgonRunsOnce(t *testing.T) {
	r := newRig(t)
	environ := PassphraseVariable + "=correct horse"
	v := r.open(environ)
	r.set(v, "a", "old")
	v = r.open(environ)
	resident := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapSys - m.HeapReleased)
	}
	for range 3 {
		v.Unlock(t.Context())
		r.set(v, "a", planted)
		if _, err := v.Rotate(t.Context(), bus.VaultRotation{}); err != nil {
			t.Fatal(err)
		}
		r.want(v, "a", planted)
	}
	if v.derived != 1 {
		t.Errorf("Argon2id ran %d times", v.derived)
	}
	if held := resident(); held > argonMemory<<10 {
		t.Errorf("%d MiB of heap are held afterwards", held>>20)
	}
	w := r.open(environ)
	r.want(w, "a", planted)
	if wrong := r.open(PassphraseVariable + "=wrong horse"); code(wrong) != "vault_locked" || !strings.Contains(wrong.List().Hint, PassphraseVariable) || strings.Contains(wrong.List().Problem, "horse") {
		t.Errorf("a wrong passphrase: %+v", wrong.List())
	}
	if none := r.open(); code(none) != "vault_locked" || !strings.Contains(none.List().Problem, "which is not there") {
		t.Errorf("no passphrase: %+v", none.List())
	}
}
