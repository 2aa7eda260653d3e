// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
)

// Recipient is who may read an encrypted archive, Identity who reads it.
type (
	Recipient = age.Recipient
	Identity  = age.Identity
)

const (
	ageIntro   = "age-encryption.org/v1\n"
	maxKeyFile = 1 << 20
)

// ParseRecipients reads recipients of age: "age1…" each.
func ParseRecipients(texts []string) ([]Recipient, error) {
	var all []Recipient
	for i, text := range texts {
		found, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(found) != 1 {
			if strings.HasPrefix(text, "age1") {
				return nil, fmt.Errorf("recipient %d (%.8q…) is not whole, or mistyped: copy it again", i+1, text)
			}
			return nil, fmt.Errorf("recipient %d (%.8q…) is none of age's: those begin with age1", i+1, text) // it may be a secret, by mistake
		}
		all = append(all, found...)
	}
	return all, nil
}

// ReadRecipients reads a file of recipients, one a line, with # before comments.
func ReadRecipients(path string) ([]string, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("read recipients: there is none in %s", path)
	}
	if _, err := ParseRecipients(all); err != nil {
		return nil, fmt.Errorf("read recipients from %s: %w", path, err)
	}
	return all, nil
}

// ReadIdentities reads a file of age's: AGE-SECRET-KEY-1… on a line, with # before comments.
func ReadIdentities(path string) ([]Identity, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	all, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil { // it may repeat the line, which is a secret
		return nil, fmt.Errorf("read identities: %s is no file of age's identities", path)
	}
	return all, nil
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("read %s: it is larger than %d bytes", path, maxKeyFile)
	}
	return text, err
}

// Encrypt wraps w for recipients; for none what is written passes as it is. Close ends the encryption
// and must be called; it does not close w.
func Encrypt(w io.Writer, recipients []Recipient) (io.WriteCloser, error) {
	if len(recipients) == 0 {
		return plainWriter{w}, nil
	}
	e, err := age.Encrypt(w, recipients...)
	if err != nil {
		return nil, fmt.Errorf("encrypt backup: %w", err)
	}
	return e, nil
}

type plainWriter struct{ io.Writer }

func (plainWriter) Close() error { return nil }

// Encrypted reports whether a file that begins with these bytes is encrypted.
func Encrypted(begin []byte) bool { return bytes.HasPrefix(begin, []byte(ageIntro)) }

func decrypt(r io.Reader, identities []Identity) (io.Reader, error) {
	if len(identities) == 0 {
		return nil, fmt.Errorf("%w: name the file of its identity", ErrEncrypted)
	}
	plain, err := age.Decrypt(r, identities...) // reads a header of 2 MiB at most
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, fmt.Errorf("%w, for somebody else: none of the identities opens it", ErrEncrypted)
	}
	return plain, err
}
