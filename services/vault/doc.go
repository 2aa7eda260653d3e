// SPDX-License-Identifier: MIT OR Apache-2.0

// Package vault keeps secrets encrypted in the database, and is the room that
// operators reach them by.
//
// # Keys
//
// Every secret is encrypted with AES-256-GCM under the data key, 32 random bytes,
// and bound to its name: a row that is moved under another name does not open. The
// data key itself lies in the database encrypted ("wrapped") under a key made of the
// first of these that there is:
//
//	credential   $CREDENTIALS_DIRECTORY/vault-key, as systemd hands it over
//	passphrase   BLUFIO_VAULT_KEY
//	file         vault.key in the data directory, made on first use
//
// A credential of 32 bytes and more without a blank in it is machine material, and so
// is the file: HKDF-SHA256 makes the key of it, for there is nothing to guess. A
// shorter credential, or one that is a sentence, is a passphrase like the
// environment's: Argon2id (64 MiB, 3 passes, 4 lanes) makes guessing dear. Stored
// parameters below that are refused, as are such as would eat the memory.
//
// What the vault is locked with stands in its row. When a source comes to stand
// before it in the list, the vault still opens with the old one, and [Vault.Rotate]
// moves it.
//
// # Opening
//
// [Open] reads names only. [Vault.Unlock] opens the vault once in the life of the
// process: Argon2id takes a fifth of a second and 64 MiB, which are given back, so
// the room does it after the house is ready. Until then, readers of a secret wait.
//
// A vault that cannot be opened stays as it is: nothing is written to it, the daemon
// runs without the secrets and says so. Secrets can still be deleted; once none is
// left the vault is begun anew. A secret whose row was damaged is unreadable alone.
//
// # Reading
//
// [Vault.Secret] is a config.Secret that asks the vault each time, so that what is
// set counts from then on. In memory the values lie in clear, as where they are used.
//
// # Rotation
//
// In one transaction the data key is made anew, wrapped, and every secret encrypted
// under it. A new vault.key is first written as vault.key.new: until the commit the
// old file opens the vault, after it the new one, and whoever opens it next puts the
// right one in place. Backups of the database need the key of their time.
//
// The caller may name what the vault is locked with from then on, and give a new
// passphrase; in this process that stands for the environment's until the end.
//
// What this does not protect from: whoever can read vault.key as well as the
// database, or the memory of the process; and a database replaced by an older copy
// of itself, which opens as it did then.
package vault
