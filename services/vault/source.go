// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
)

// PassphraseVariable is the one of the environment that may hold the vault's passphrase.
const PassphraseVariable = "BLUFIO_VAULT_KEY"

const (
	credentialName = "vault-key"
	fileName       = "vault.key"

	leastMaterial   = 32 // bytes: as many as the keys have
	leastPassphrase = 8  // bytes
)

// Sources are where what the vault is locked with may be.
type Sources struct {
	credential string        // path; "" without systemd's directory
	passphrase config.Secret // of the environment
	file       keyFile
}

// SourcesOf finds them, by the process's environment as os.Environ gives it and the
// data directory.
func SourcesOf(environ []string, dataDir string) Sources {
	s := Sources{file: keyFile{filepath.Join(dataDir, fileName)}}
	for _, line := range environ {
		if dir, ok := strings.CutPrefix(line, "CREDENTIALS_DIRECTORY="); ok && dir != "" {
			s.credential = filepath.Join(dir, credentialName)
		}
		if text, ok := strings.CutPrefix(line, PassphraseVariable+"="); ok {
			s.passphrase = config.NewSecret(text)
		}
	}
	return s
}

// material is what a key is made of.
type material struct {
	source string
	kdf    string
	bytes  []byte
	path   string // of the file
}

// same reports whether both make the same keys.
func (m *material) same(other *material) bool {
	return m.source == other.source && m.kdf == other.kdf && bytes.Equal(m.bytes, other.bytes)
}

// SourceName is what people call a source.
func SourceName(source string) string {
	switch source {
	case bus.KeyCredential:
		return "the systemd credential " + credentialName
	case bus.KeyPassphrase:
		return PassphraseVariable
	case bus.KeyFile:
		return fileName + " in the data directory"
	}
	return "something that this version does not know"
}

// read returns what one source has, nil when it is not there.
func (s Sources) read(source string) (*material, error) {
	switch source {
	case bus.KeyCredential:
		return s.readCredential()
	case bus.KeyPassphrase:
		return s.readPassphrase()
	case bus.KeyFile:
		return s.file.read()
	}
	return nil, nil
}

// order is that in which sources are taken.
var order = [...]string{bus.KeyCredential, bus.KeyPassphrase, bus.KeyFile}

// first is what a vault is locked with that is locked anew. A file is made where
// nothing else is there.
func (s Sources) first() (*material, error) {
	for _, source := range order {
		if m, err := s.read(source); m != nil || err != nil {
			return m, err
		}
	}
	if err := s.file.create(s.file.path); err != nil {
		return nil, err
	}
	return s.file.read()
}

// given is the first source that somebody gave us, "" where there is none but the file.
// One that cannot be used is there too: a rotation says what is wrong with it.
func (s Sources) given() string {
	for _, source := range order {
		if m, err := s.read(source); source != bus.KeyFile && (m != nil || err != nil) {
			return source
		}
	}
	return ""
}

func (s Sources) readCredential() (*material, error) {
	if s.credential == "" {
		return nil, nil
	}
	data, err := readBounded(s.credential)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", SourceName(bus.KeyCredential), pathless(err))
	}
	m := &material{source: bus.KeyCredential, kdf: kdfHKDF, bytes: withoutLineEnd(data)}
	if len(m.bytes) < leastMaterial || isSentence(m.bytes) {
		m.kdf = kdfArgon2
	}
	return m, m.check()
}

func (s Sources) readPassphrase() (*material, error) {
	if s.passphrase.IsZero() {
		return nil, nil
	}
	return passphraseOf(s.passphrase.Reveal())
}

func passphraseOf(text string) (*material, error) {
	m := &material{source: bus.KeyPassphrase, kdf: kdfArgon2, bytes: []byte(text)}
	return m, m.check()
}

func (m *material) check() error {
	least := leastPassphrase
	if m.kdf == kdfHKDF {
		least = leastMaterial
	}
	if len(m.bytes) < least {
		return fmt.Errorf("%s has fewer than %d bytes", SourceName(m.source), least)
	}
	return nil
}

// isSentence tells words with blanks between them from random bytes, among which
// there may be a blank too.
func isSentence(b []byte) bool {
	if !utf8.Valid(b) || !bytes.ContainsFunc(b, unicode.IsSpace) {
		return false
	}
	return !bytes.ContainsFunc(b, func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) })
}

// withoutLineEnd cuts the line end that editors and echo leave behind.
func withoutLineEnd(b []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
}
