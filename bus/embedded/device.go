// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"crypto/ed25519"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Device is the identity of this installation: an Ed25519 NATS user key that
// answers the bus's challenge and signs the gateway's tokens. Every way of
// printing, logging or encoding a Device shows its public key only.
//
// The private key sits behind a function value, because fmt prints the bytes
// of an unexported field without asking any method of its type.
type Device struct {
	public string
	key    func() ed25519.PrivateKey
}

// parseDevice reads the text form of a user seed ("SU…").
func parseDevice(seed []byte) (*Device, error) {
	prefix, raw, err := nkeys.DecodeSeed(seed)
	if err != nil {
		return nil, fmt.Errorf("decode seed: %w", err)
	}
	if prefix != nkeys.PrefixByteUser {
		return nil, fmt.Errorf("decode seed: it is not the seed of a user")
	}
	private := ed25519.NewKeyFromSeed(raw)
	public, err := nkeys.Encode(nkeys.PrefixByteUser, private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return &Device{public: string(public), key: func() ed25519.PrivateKey { return private }}, nil
}

// newSeed makes a user seed in its text form.
func newSeed() ([]byte, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("create key: %w", err)
	}
	return pair.Seed()
}

// ephemeral makes an identity that lives as long as the process.
func ephemeral() (*Device, error) {
	seed, err := newSeed()
	if err != nil {
		return nil, err
	}
	return parseDevice(seed)
}

// PublicKey returns the public key as NATS writes it ("U…", 56 characters).
func (d Device) PublicKey() string { return d.public }

// Private returns the Ed25519 key itself, for signing tokens. It shares memory
// with the Device: read it, do not change it, do not print it.
func (d Device) Private() ed25519.PrivateKey { return d.key() }

// Sign returns the Ed25519 signature (64 bytes) of data. Its form is that of
// nats.SignatureHandler; the error is always nil.
func (d Device) Sign(data []byte) ([]byte, error) {
	return ed25519.Sign(d.key(), data), nil
}

// NATSOption makes a connection identify itself with this key.
func (d Device) NATSOption() nats.Option { return nats.Nkey(d.public, d.Sign) }

// String returns the public key.
func (d Device) String() string { return "device " + d.public }

// Format prints the public key whatever the verb and its flags.
func (d Device) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(d.String())) }

// LogValue logs the public key.
func (d Device) LogValue() slog.Value { return slog.StringValue(d.public) }

// MarshalText encodes the public key.
func (d Device) MarshalText() ([]byte, error) { return []byte(d.public), nil }
