// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"io"

	"filippo.io/age"
)

// Recipient is who may read an encrypted archive, Identity who reads it.
type (
	Recipient = age.Recipient
	Identity  = age.Identity
)

// ParseRecipients reads recipients of age: "age1…" each.
func ParseRecipients(texts []string) ([]Recipient, error) { return nil, errNotWritten }

// ReadRecipients reads a file of recipients, one a line, with # before comments.
func ReadRecipients(path string) ([]string, error) { return nil, errNotWritten }

// ReadIdentities reads a file of age's: AGE-SECRET-KEY-1… on a line, with # before comments.
func ReadIdentities(path string) ([]Identity, error) { return nil, errNotWritten }

// Encrypt wraps w for recipients; for none what is written passes as it is. Close ends the encryption
// and must be called; it does not close w.
func Encrypt(w io.Writer, recipients []Recipient) (io.WriteCloser, error) { return nil, errNotWritten }

// Encrypted reports whether a file that begins with these bytes is encrypted.
func Encrypted(begin []byte) bool { return false }
