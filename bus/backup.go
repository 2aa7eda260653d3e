// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "time"

// BackupChunkBytes is the most that one BackupChunk holds of an archive: larger ones are no faster, and what
// carries them takes many times their size.
const BackupChunkBytes = 128 << 10

// BackupSuffix is what follows the name of the daemon and the time in an archive's name,
// and BackupSealed what follows that when it is encrypted.
const (
	BackupSuffix = ".tar.zst"
	BackupSealed = ".age"
)

// MaxBackupRecipients is how many keys one backup may be encrypted to.
const MaxBackupRecipients = 16

// BackupRequest asks for a backup that whoever asks writes to a place of its own.
type BackupRequest struct {
	IncludeDeviceKey bool     `json:"include_device_key,omitempty"`
	IncludeWorkspace bool     `json:"include_workspace,omitempty"`
	Recipients       []string `json:"recipients,omitempty"` // age's public keys; empty: not encrypted
}

// BackupBegun is a backup under way; BackupRead takes it, piece by piece. One that nobody
// reads for a minute is given up.
type BackupBegun struct {
	ID            string `json:"id"`
	Name          string `json:"name"`           // a file name for it
	EstimateBytes int64  `json:"estimate_bytes"` // no archive is larger by much; most are a good deal smaller
}

// Stages of a backup, in their order.
const (
	BackupCopy   = "copy"   // the database is copied
	BackupCheck  = "check"  // the copy is hashed, and from then on checked: damage is told of this stage
	BackupWrite  = "write"  // the archive is written
	BackupVerify = "verify" // and read again; those of the schedule alone
	BackupAfter  = "after"  // it is sent away; those of the schedule alone
	BackupDrill  = "drill"  // a daemon is started on it; those of the schedule alone
)

// BackupRead asks for the bytes of the archive from Offset on. The last piece may be asked
// for again, no earlier one.
type BackupRead struct {
	ID     string `json:"id"`
	Offset int64  `json:"offset"`
}

// BackupChunk answers it. Before the stage "write" it has no data: the answer waits up to a
// second for some.
type BackupChunk struct {
	Stage string `json:"stage"`
	Done  int64  `json:"done"`  // of the stage
	Total int64  `json:"total"` // 0: not known
	Data  []byte `json:"data"`  // at most [BackupChunkBytes]
	EOF   bool   `json:"eof"`   // nothing comes behind Data

	SHA256  string         `json:"sha256,omitempty"`  // of the whole archive, at its end
	Archive *BackupArchive `json:"archive,omitempty"` // what is in it, at its end
}

// BackupArchive is what an archive holds.
type BackupArchive struct {
	Created       time.Time `json:"created"`
	Bytes         int64     `json:"bytes"` // of the archive
	DatabaseBytes int64     `json:"database_bytes"`
	Rows          int64     `json:"rows"`  // of all tables
	Event         int64     `json:"event"` // position of the last event before the cut
	Files         []string  `json:"files"`
	Encrypted     bool      `json:"encrypted"`
	VaultSource   string    `json:"vault_source,omitempty"` // what its vault is locked with: "file", "passphrase" or "credential"
	Secrets       int       `json:"secrets"`                // in the vault
	Stripped      []string  `json:"stripped,omitempty"`     // keys of secrets that stood in the configuration in clear, and are not in the archive
	LinksLeftOut  int       `json:"links_left_out"`         // of the workspace
}

// BackupEnd says what became of an archive that was read, or that nobody wants it any more.
type BackupEnd struct {
	ID    string `json:"id"`
	Path  string `json:"path,omitempty"`  // where it lies; "-" is a stream of the one who asked
	Error string `json:"error,omitempty"` // why it lies nowhere
}

// BackupEnded answers it.
type BackupEnded struct {
	Run BackupRun `json:"run"`
}

// BackupRun is one backup that was tried.
type BackupRun struct {
	ID            string    `json:"id"`
	Time          time.Time `json:"time"`      // when it ended
	Scheduled     bool      `json:"scheduled"` // by the daemon itself
	Path          string    `json:"path,omitempty"`
	Bytes         int64     `json:"bytes"`
	DatabaseBytes int64     `json:"database_bytes"`
	Seconds       float64   `json:"seconds"`
	SHA256        string    `json:"sha256,omitempty"`
	Stage         string    `json:"stage,omitempty"` // in which it failed
	Error         string    `json:"error,omitempty"`
}

// BackupQuery asks how the backups stand.
type BackupQuery struct {
	Files int `json:"files,omitempty"` // how many of the newest files to name, at most 100
}

// BackupSummary answers it. Absent facts are null.
type BackupSummary struct {
	Every        int64        `json:"every_seconds"` // 0: there is no schedule
	Dir          string       `json:"dir"`           // of the schedule's
	NextDue      *time.Time   `json:"next_due"`
	Running      *BackupStep  `json:"running"`
	LastSuccess  *BackupRun   `json:"last_success"`
	LastFailure  *BackupRun   `json:"last_failure"`
	Failures     int          `json:"failures"` // of the schedule, in a row
	LastVerified *BackupProof `json:"last_verified"`
	LastDrilled  *BackupProof `json:"last_drilled"`
	DrillEvery   int64        `json:"drill_every_seconds"` // 0: no drill
	NotDrilled   string       `json:"not_drilled"`         // why the daemon restores none on trial: "encrypted" or "off"; "" when it does
	Replaced     Replaced     `json:"replaced"`
	Files        []BackupFile `json:"files"` // newest first
	More         int          `json:"more"`  // files that are not named
}

// Why the daemon restores no backup on trial.
const (
	NotDrilledEncrypted = "encrypted" // what it encrypts it cannot open
	NotDrilledOff       = "off"       // by the configuration
)

// Replaced is what restores have replaced and the data directory still holds.
type Replaced struct {
	Dirs  int   `json:"dirs"` // pre-restore-…, one of each restore
	Bytes int64 `json:"bytes"`
}

// BackupStep is how far the running backup has come.
type BackupStep struct {
	ID        string    `json:"id"`
	Time      time.Time `json:"time"`
	Scheduled bool      `json:"scheduled"`
	Stage     string    `json:"stage"`
	Done      int64     `json:"done"`
	Total     int64     `json:"total"` // 0: not known
}

// BackupProof is an archive that was shown to be good.
type BackupProof struct {
	Time    time.Time `json:"time"`
	Path    string    `json:"path"`
	Bytes   int64     `json:"bytes"`
	Seconds float64   `json:"seconds"` // that it took
}

// BackupFile is an archive in the schedule's directory.
type BackupFile struct {
	Name      string    `json:"name"`
	Time      time.Time `json:"time"` // when it was begun
	Bytes     int64     `json:"bytes"`
	Encrypted bool      `json:"encrypted"`
}

// BackupStartedFact: a backup was begun.
type BackupStartedFact struct {
	Time      time.Time `json:"time"`
	ID        string    `json:"id"`
	Scheduled bool      `json:"scheduled"`
}

// BackupFact: a backup lies where it should.
type BackupFact struct {
	Time          time.Time `json:"time"`
	ID            string    `json:"id"`
	Scheduled     bool      `json:"scheduled"`
	Path          string    `json:"path"` // "-": whoever asked for it has it
	Bytes         int64     `json:"bytes"`
	DatabaseBytes int64     `json:"database_bytes"`
	Seconds       float64   `json:"seconds"`
	SHA256        string    `json:"sha256"`
	Event         int64     `json:"event"` // position of the last event before the cut
	Encrypted     bool      `json:"encrypted"`
}

// BackupFailedFact: there is no backup, or what was to be done with it failed.
type BackupFailedFact struct {
	Time      time.Time `json:"time"`
	ID        string    `json:"id"`
	Scheduled bool      `json:"scheduled"`
	Stage     string    `json:"stage"` // copy, check, write, verify, after or drill
	Error     string    `json:"error"`
	Failures  int       `json:"failures"` // of the schedule, in a row
}

// BackupProofFact: an archive was shown to be good.
type BackupProofFact struct {
	Time    time.Time `json:"time"`
	Path    string    `json:"path"`
	Bytes   int64     `json:"bytes"`
	Seconds float64   `json:"seconds"`
}
