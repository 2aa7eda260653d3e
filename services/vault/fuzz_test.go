// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/blufio/blufio/services/config"
)

// Rows of random bytes open nothing and harm nobody.
func FuzzRows(f *testing.F) {
	f.Add("file", kdfHKDF, int64(0), int64(0), int64(0), make([]byte, saltSize), make([]byte, 12), make([]byte, 48))
	f.Add("passphrase", kdfArgon2, int64(3), int64(1)<<40, int64(4), make([]byte, saltSize), []byte{}, []byte{})
	f.Add("", "", int64(-1), int64(-1), int64(-1), []byte(nil), []byte(nil), []byte(nil))
	dir := f.TempDir()
	sources := SourcesOf(nil, dir)
	if err := sources.file.create(sources.file.path); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, source, name string, passes, memory, lanes int64, salt, nonce, data []byte) {
		v := &Vault{d: Deps{Sources: sources, Known: func(config.Secret) {}}, log: slog.New(slog.DiscardHandler)}
		row := &keyRow{source: source, kdf: kdf{name: name, passes: passes, memoryKiB: memory, lanes: lanes, salt: salt}, nonce: nonce, wrapped: data}
		if key, _, why := v.openRow(row); why == nil || key != nil {
			t.Errorf("opened: %v", why)
		}
		if e := v.openSecret(make([]byte, keySize), sealedSecret{name: source, nonce: nonce, ciphertext: data}); e.text != nil {
			t.Error("a secret of random bytes was read")
		}
	})
}

// What is sealed opens under the same name alone.
func FuzzSeal(f *testing.F) {
	f.Add("a.b", []byte("value"), "a.c")
	f.Fuzz(func(t *testing.T, name string, plain []byte, other string) {
		key := random(keySize)
		nonce, sealed, err := seal(key, plain, aboutSecret(name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := unseal(key, nonce, sealed, aboutSecret(name)); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := unseal(key, nonce, sealed, aboutSecret(other)); err == nil && other != name {
			t.Error("it opens under another name")
		}
	})
}
