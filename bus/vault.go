// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// SecretsSchema names the shape of `blufio config list-secrets --json`.
const SecretsSchema = "blufio.secrets/1"

// Bounds of the vault.
const (
	MaxSecrets     = 64
	MaxSecretBytes = 16 << 10
)

// Hidden is text that travels and does not show itself: its JSON carries it, and
// printing or logging it, or what it is part of by way of fmt, does not.
type Hidden struct{ text *string } // behind a pointer, where fmt does not look

// Hide wraps text.
func Hide(text string) Hidden { return Hidden{&text} }

// Reveal returns the text.
func (h Hidden) Reveal() string {
	if h.text == nil {
		return ""
	}
	return *h.text
}

const hidden = "[hidden]"

// String never returns the text.
func (h Hidden) String() string { return hidden }

// Format writes String for every verb and flag.
func (h Hidden) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue keeps the text out of logs.
func (h Hidden) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON writes the text.
func (h Hidden) MarshalJSON() ([]byte, error) { return json.Marshal(h.Reveal()) }

// UnmarshalJSON reads it.
func (h *Hidden) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("it is not a text of JSON") // the error itself may quote it
	}
	*h = Hide(text)
	return nil
}

// SecretValue is a secret to be kept.
type SecretValue struct {
	Name  string `json:"name"`  // a configuration key such as anthropic.api_key, or any name of that shape
	Value Hidden `json:"value"` // 1 to 16384 bytes
}

// LogValue logs the name alone: a log in JSON would otherwise write the value.
func (s SecretValue) LogValue() slog.Value { return slog.StringValue(s.Name + "=" + hidden) }

// SecretName names one secret.
type SecretName struct {
	Name string `json:"name"`
}

// SecretOutcome says what was done about a secret.
type SecretOutcome struct {
	Name       string `json:"name"`
	Action     string `json:"action"`               // set or deleted
	Overridden string `json:"overridden,omitempty"` // what of the daemon's start counts more than the vault: a variable or a flag
	Begun      string `json:"begun,omitempty"`      // with this secret a new vault was begun, locked with this: credential, passphrase or file
	Next       string `json:"next,omitempty"`       // as in SecretList
}

// SecretQuery asks what is in the vault.
type SecretQuery struct{}

// SecretList answers a SecretQuery: names, never values.
type SecretList struct {
	State   string       `json:"state"`             // empty, open, opening or locked
	Source  string       `json:"source,omitempty"`  // what the vault is locked with: credential, passphrase or file; absent while it is empty
	Next    string       `json:"next,omitempty"`    // what is there too and comes before Source: the vault is not locked with it until its key is rotated
	Problem string       `json:"problem,omitempty"` // why it is not open
	Hint    string       `json:"hint,omitempty"`
	Limit   int          `json:"limit"` // most secrets
	Secrets []SecretInfo `json:"secrets"`
}

// Unreadable names the secrets that are kept and cannot be read.
func (l SecretList) Unreadable() (names []string) {
	for _, s := range l.Secrets {
		if s.Unreadable || l.State == VaultLocked {
			names = append(names, s.Name)
		}
	}
	return names
}

// SecretInfo is one secret without its value.
type SecretInfo struct {
	Name       string    `json:"name"`
	SetAt      time.Time `json:"set_at"`
	Unreadable bool      `json:"unreadable,omitempty"` // its row is damaged
	Overridden string    `json:"overridden,omitempty"` // as in SecretOutcome
}

// States of the vault.
const (
	VaultEmpty   = "empty"
	VaultOpening = "opening"
	VaultOpen    = "open"
	VaultLocked  = "locked"
)

// What the vault can be locked with.
const (
	KeyCredential = "credential" // a systemd credential
	KeyPassphrase = "passphrase" // BLUFIO_VAULT_KEY
	KeyFile       = "file"       // vault.key, beside what it protects
)

// VaultRotation asks for a new key. Without To the vault is locked with the first source
// there is: the credential, the passphrase, the file.
type VaultRotation struct {
	To         string           `json:"to,omitempty"`        // file, or passphrase, with a new one
	Passphrase Hidden           `json:"passphrase,omitzero"` // the new one, 8 to 16384 bytes; with To passphrase alone
	Meant      *PassphraseProof `json:"meant,omitempty"`     // the passphrase that the caller takes for the daemon's; with another one nothing is done
}

// LogValue leaves the passphrase out, as that of SecretValue does the value.
func (r VaultRotation) LogValue() slog.Value { return slog.StringValue("to=" + r.To) }

// PassphraseProof names a passphrase to somebody who knows it, without telling it.
type PassphraseProof struct {
	Nonce string `json:"nonce"` // 16 bytes and more, chosen at random
	MAC   string `json:"mac"`   // HMAC-SHA256 of the nonce with the passphrase as the key, in hex
}

// ProvePassphrase makes the proof.
func ProvePassphrase(passphrase, nonce string) *PassphraseProof {
	h := hmac.New(sha256.New, []byte(passphrase))
	_, _ = io.WriteString(h, nonce)
	return &PassphraseProof{nonce, hex.EncodeToString(h.Sum(nil))}
}

// Names reports whether the proof was made of that passphrase.
func (p *PassphraseProof) Names(passphrase string) bool {
	return len(p.Nonce) >= 16 && hmac.Equal([]byte(ProvePassphrase(passphrase, p.Nonce).MAC), []byte(p.MAC))
}

// VaultRotated says that everything is encrypted anew.
type VaultRotated struct {
	Secrets int    `json:"secrets"`
	Source  string `json:"source"`             // as in SecretList
	Next    string `json:"next,omitempty"`     // as in SecretList
	OldFile string `json:"old_file,omitempty"` // the path of a vault.key that opens only older backups now
}

// Actions of a SecretFact.
const (
	SecretSet     = "set"
	SecretDeleted = "deleted"
	SecretRotated = "rotated"
)

// SecretFact says that the vault changed, and no value.
type SecretFact struct {
	Time   time.Time `json:"time"`
	Name   string    `json:"name,omitempty"` // absent when the key was rotated
	Action string    `json:"action"`         // set, deleted or rotated
}
