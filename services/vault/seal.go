// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime/debug"

	"golang.org/x/crypto/argon2"
)

const (
	keySize  = 32 // of AES-256, and of the data key
	saltSize = 32
)

// errSealed is all there is to say about what does not open: the key is wrong or the
// data was changed, and AES-GCM cannot tell which.
var errSealed = errors.New("it does not open with this key, or was changed")

// seal encrypts plain under key, bound to about.
func seal(key, plain, about []byte) (nonce, sealed []byte, err error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, nil, err
	}
	nonce = random(gcm.NonceSize())
	return nonce, gcm.Seal(nil, nonce, plain, about), nil
}

// unseal is the way back.
func unseal(key, nonce, sealed, about []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	if len(nonce) != gcm.NonceSize() {
		return nil, errSealed
	}
	plain, err := gcm.Open(nil, nonce, sealed, about)
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

// random returns n random bytes; crypto/rand ends the process where it has none.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// aboutSecret binds a secret's row to its name.
func aboutSecret(name string) []byte { return []byte("blufio vault secret 1\x00" + name) }

// about binds the wrapped data key to how it was wrapped.
func (r *keyRow) about() []byte {
	return fmt.Appendf(nil, "blufio vault key 1\x00%s\x00%s\x00%d\x00%d\x00%d\x00%x", r.source, r.kdf.name, r.kdf.passes, r.kdf.memoryKiB, r.kdf.lanes, r.kdf.salt)
}

// Names of the ways to make a key.
const (
	kdfHKDF   = "hkdf-sha256"
	kdfArgon2 = "argon2id"
)

// kdf makes a wrapping key of what the vault is locked with.
type kdf struct {
	name      string
	passes    int64 // of argon2id, as are the next two
	memoryKiB int64
	lanes     int64
	salt      []byte
}

// What Argon2id is asked for, which is also the least that is accepted, and the most:
// a row that was tampered with must neither make guessing cheap nor eat the memory.
const (
	argonPasses, maxArgonPasses = 3, 8
	argonMemory, maxArgonMemory = 64 << 10, 128 << 10 // KiB
	argonLanes, maxArgonLanes   = 4, 8
)

func newKDF(name string) kdf {
	k := kdf{name: name, salt: random(saltSize)}
	if name == kdfArgon2 {
		k.passes, k.memoryKiB, k.lanes = argonPasses, argonMemory, argonLanes
	}
	return k
}

// check refuses parameters that this program would not have written.
func (k kdf) check() error {
	between := func(v, least, most int64) bool { return v >= least && v <= most }
	switch {
	case len(k.salt) < saltSize/2 || len(k.salt) > 2*saltSize:
		return fmt.Errorf("its salt has %d bytes", len(k.salt))
	case k.name == kdfHKDF:
		return nil
	case k.name != kdfArgon2:
		return errors.New("its key is made in a way that this version does not know")
	case !between(k.passes, argonPasses, maxArgonPasses), !between(k.memoryKiB, argonMemory, maxArgonMemory), !between(k.lanes, argonLanes, maxArgonLanes):
		return fmt.Errorf("its Argon2id parameters (%d passes, %d KiB, %d lanes) are outside of what is accepted", k.passes, k.memoryKiB, k.lanes)
	}
	return nil
}

// derive makes the key. check was asked before.
func (k kdf) derive(material []byte) ([]byte, error) {
	if k.name == kdfHKDF {
		return hkdf.Key(sha256.New, material, k.salt, "blufio vault 1: wrapping key", keySize)
	}
	key := argon2.IDKey(material, k.salt, uint32(k.passes), uint32(k.memoryKiB), uint8(k.lanes), keySize)
	debug.FreeOSMemory() // what it worked in is garbage now, and a good part of all there is
	return key, nil
}
