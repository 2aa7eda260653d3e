// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import "time"

const (
	// Format is the version of the file's format that is written. All earlier ones are read.
	Format = 1
	// MaxManifest bounds manifest.json; some 20 000 files fit.
	MaxManifest = 4 << 20

	ManifestName  = "manifest.json"
	DatabaseName  = "blufio.db"
	DevicePubName = "device.pub"
	DeviceKeyName = "device.nk"
	ConfigDir     = "config/"
	WorkspaceDir  = "workspace/"
)

// Manifest says what is in an archive. A field is never taken away or given another
// meaning; a new one is a new format.
type Manifest struct {
	Format   int              `json:"format"`
	Created  time.Time        `json:"created"` // UTC, whole seconds
	Version  string           `json:"version"` // of the blufio that wrote it
	Node     string           `json:"node"`
	Device   string           `json:"device"` // public key
	Schema   map[string]int   `json:"schema"` // version of each room's tables
	Rows     map[string]int64 `json:"rows"`   // of each table
	Cut      Cut              `json:"cut"`
	Vault    Vault            `json:"vault"`
	Stripped []string         `json:"stripped"` // keys of the configuration whose value was a secret in clear, and is left out
	LeftOut  LeftOut          `json:"left_out"`
	Files    []File           `json:"files"` // in the order of the file, without the manifest itself
}

// File is one file of an archive.
type File struct {
	Name   string `json:"name"` // with slashes; see [ValidName]
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hexadecimal, lower case
	Mode   uint32 `json:"mode"`   // permission bits

	quick uint64 // what [Describe] also made of its bytes, for [Write] to see that they are the same; 0: SHA256 has to tell
}

// Cut is the moment that an archive holds.
type Cut struct {
	Event uint64 `json:"event"` // position of the last event in the event log
	Epoch string `json:"epoch"` // of the event stream
}

// Vault says what it takes to read the secrets after a restore elsewhere.
type Vault struct {
	Source  string `json:"source"`  // "" (no vault), "file", "passphrase", "credential"
	Secrets int    `json:"secrets"` // how many are in it
}

// LeftOut counts what the workspace has and the archive has not.
type LeftOut struct {
	Links   int `json:"links"`
	Special int `json:"special"` // sockets, pipes, devices
	Names   int `json:"names"`   // no [ValidName]
}

// Bytes is the size of all files together.
func (m *Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Has reports whether the archive holds a file of that name.
func (m *Manifest) Has(name string) bool {
	for _, f := range m.Files {
		if f.Name == name {
			return true
		}
	}
	return false
}
