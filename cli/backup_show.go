// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
)

// progress draws how far a backup is on a terminal, and is silent elsewhere.
type progress struct {
	w     io.Writer
	u     ui
	on    bool
	now   func() time.Time
	drawn time.Time
	stage string
}

const drawEvery = 100 * time.Millisecond

func (a *app) newProgress() *progress {
	u := a.ui(a.err)
	return &progress{w: a.err, u: u, on: u.tty && !a.json, now: a.now}
}

// stageWords are for people.
var stageWords = map[string]string{bus.BackupCopy: "copying", bus.BackupCheck: "checking", bus.BackupWrite: "writing", bus.BackupVerify: "verifying", "import": "importing"}

func (p *progress) tell(stage string, done, total int64) {
	now := p.now()
	if !p.on || stage == p.stage && now.Sub(p.drawn) < drawEvery && done < total {
		return
	}
	p.stage, p.drawn = stage, now
	text := fmt.Sprintf("%-9s", stageWords[stage])
	if total > 0 {
		text += " " + p.u.progress(done, total) + " " + percent(done, total) + " of " + size(total)
	}
	_, _ = io.WriteString(p.w, "\r\x1b[K"+text)
}

// clear leaves nothing behind.
func (p *progress) clear() {
	if p.on && p.stage != "" {
		_, _ = io.WriteString(p.w, "\r\x1b[K")
		p.stage = ""
	}
}

// backupMade is what `blufio backup --json` prints.
type backupMade struct {
	Schema  string  `json:"schema"`
	Path    string  `json:"path"`
	SHA256  string  `json:"sha256"`
	Seconds float64 `json:"seconds"`
	bus.BackupArchive
	Needs string `json:"needs"` // what else a restore elsewhere needs to read the secrets; "" when nothing
}

func (a *app) showBackup(b written) error {
	needs := vaultNeeds(b.archive)
	if a.json {
		return a.printJSON(backupMade{Schema: backupSchema, Path: b.path, SHA256: b.sum, Seconds: b.took.Round(time.Millisecond).Seconds(), BackupArchive: b.archive, Needs: needs})
	}
	out, where := a.out, line(b.path)
	if b.path == stdoutPath {
		out, where = a.err, "written to standard output"
	}
	u := a.ui(out)
	text := u.ok() + " " + where + "\n     " + archiveLine(u, b.archive) + u.sep() + fmt.Sprintf("%.1f s", b.took.Seconds()) + "\n"
	if needs != "" {
		text += u.warn() + " " + needs + "\n"
	}
	if s := b.archive.Stripped; len(s) > 0 {
		text += u.warn() + " left out, for it stood in the configuration in clear: " + line(strings.Join(s, ", ")) + "\n"
	}
	if n := b.archive.LinksLeftOut; n > 0 {
		text += u.warn() + " left out of the workspace: " + plural(int64(n), "link") + "\n"
	}
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func archiveLine(u ui, b bus.BackupArchive) string {
	sealed := ""
	if b.Encrypted {
		sealed = u.sep() + "encrypted"
	}
	return size(b.Bytes) + u.sep() + "database " + size(b.DatabaseBytes) + u.sep() + plural(b.Rows, "row") + u.sep() + fmt.Sprintf("up to event %d", b.Event) + sealed
}

// vaultNeeds says what is missing from an archive to read its secrets on another machine.
func vaultNeeds(b bus.BackupArchive) string {
	if b.Secrets == 0 {
		return ""
	}
	what := serve.VaultSourceName(b.VaultSource)
	secrets := "its " + plural(int64(b.Secrets), "secret")
	switch b.VaultSource {
	case bus.KeyFile:
		return secrets + " cannot be read elsewhere without vault.key, which is not in it: keep a copy of that file somewhere else"
	case "":
		return secrets + " cannot be read: nobody knows what they are locked with"
	}
	return secrets + " cannot be read elsewhere without " + what + ", which is not in it"
}

// verdictOnBackup is what `blufio backup verify --json` prints.
type verdictOnBackup struct {
	Schema string             `json:"schema"`
	Path   string             `json:"path"`
	OK     bool               `json:"ok"`
	Error  *string            `json:"error"`
	Holds  *bus.BackupArchive `json:"archive"`
	Node   string             `json:"node,omitempty"`
	Made   string             `json:"version,omitempty"` // of the blufio that made it
	Tables int                `json:"tables,omitempty"`
}

func (a *app) showVerified(path string, r serve.BackupReport) error {
	if a.json {
		return a.printJSON(verdictOnBackup{Schema: backupVerifySchema, Path: path, OK: true, Holds: &r.Summary, Node: r.Manifest.Node, Made: r.Manifest.Version, Tables: r.Tables})
	}
	u := a.ui(a.out)
	return a.print(u.ok() + " " + line(path) + " is whole\n     " + archiveLine(u, r.Summary) + "\n     " + origin(u, r, a.now()) + "\n")
}

func origin(u ui, r serve.BackupReport, now time.Time) string {
	return strings.Join([]string{"of " + moment(r.Manifest.Created, now), "node " + line(r.Manifest.Node), "blufio " + line(r.Manifest.Version), plural(int64(len(r.Manifest.Files)), "file"),
		plural(int64(r.Tables), "table")}, u.sep())
}

// inspected is what `blufio backup inspect --json` prints.
type inspected struct {
	Schema    string `json:"schema"`
	Path      string `json:"path"`
	Bytes     int64  `json:"bytes"`
	Encrypted bool   `json:"encrypted"`
	Manifest  any    `json:"manifest"`
}

func (a *app) showInspected(path string, r serve.BackupReport) error {
	if a.json {
		return a.printJSON(inspected{Schema: backupInspectSchema, Path: path, Bytes: r.Summary.Bytes, Encrypted: r.Summary.Encrypted, Manifest: r.Manifest})
	}
	u, m := a.ui(a.out), r.Manifest
	rows := [][]string{}
	for _, f := range m.Files {
		rows = append(rows, []string{"  " + line(f.Name), size(f.Size), f.SHA256[:min(len(f.SHA256), 12)] + "…"})
	}
	text := u.bold(line(filepath.Base(path))) + "\n" + archiveLine(u, r.Summary) + "\n" + origin(u, r, a.now()) + "\ndevice " + line(m.Device) + "\n" + table(rows, 1)
	if needs := vaultNeeds(r.Summary); needs != "" {
		text += u.warn() + " " + needs + "\n"
	}
	if len(m.Stripped) > 0 {
		text += u.warn() + " not in it, for it stood in the configuration in clear: " + line(strings.Join(m.Stripped, ", ")) + "\n"
	}
	return a.print(text + u.dim("this is what it says of itself; `blufio backup verify` proves it") + "\n")
}

// listedBackups is what `blufio backup list --json` prints.
type listedBackups struct {
	Schema string             `json:"schema"`
	Dir    string             `json:"dir"`
	Files  []bus.BackupFile   `json:"files"`
	More   int                `json:"more"`
	State  *bus.BackupSummary `json:"state"` // of a running daemon whose directory it is
}

func (a *app) showListed(l listedBackups) error {
	if a.json {
		return a.printJSON(l)
	}
	u, now := a.ui(a.out), a.now()
	var rows [][]string
	for _, f := range l.Files {
		sealed := ""
		if f.Encrypted {
			sealed = "encrypted"
		}
		rows = append(rows, []string{line(f.Name), size(f.Bytes), ago(&f.Time, now), sealed})
	}
	text := table(rows, 1)
	if len(rows) == 0 {
		text = "there are no backups in " + line(l.Dir) + "\n"
	}
	if l.More > 0 {
		text += u.dim("and "+plural(int64(l.More), "older one")) + "\n"
	}
	if l.State != nil {
		text += stateLines(u, *l.State, now)
	}
	return a.print(text)
}

func stateLines(u ui, s bus.BackupSummary, now time.Time) (text string) {
	if r := s.Running; r != nil {
		text += u.warn() + " one is being made: " + strings.TrimSpace(stageWords[r.Stage]+" "+percent(r.Done, r.Total)) + "\n"
	}
	if f := s.LastFailure; f != nil && (s.LastSuccess == nil || f.Time.After(s.LastSuccess.Time)) {
		text += u.bad() + " failed " + ago(&f.Time, now) + " (" + line(f.Stage) + "): " + line(f.Error) + "\n"
	}
	if v := s.LastVerified; v != nil {
		text += u.ok() + " verified " + ago(&v.Time, now) + "\n"
	}
	if d := s.LastDrilled; d != nil {
		text += u.ok() + " restored on trial " + ago(&d.Time, now) + "\n"
	}
	if s.NotDrilled == bus.NotDrilledEncrypted {
		text += u.dim("none is restored on trial: the daemon cannot open what it encrypts; `blufio backup drill FILE --identity KEY` does it") + "\n"
	}
	if s.NextDue != nil {
		text += u.dim("the next is due at "+s.NextDue.Local().Format("2006-01-02 15:04:05")) + "\n"
	}
	return text
}
