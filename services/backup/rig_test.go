// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/backup/archive"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const patience = 20 * time.Second // for what is to happen

// filler makes a database that takes several pieces.
var filler = sqlite.Schema{Room: "filler", Steps: []string{`CREATE TABLE filler (data BLOB)`}}

// rig is a room over a data directory, with a clock of its own.
type rig struct {
	t     *testing.T
	b     *bustest.Bus
	store *sqlite.Store
	room  *Service
	cli   *bus.Conn
	dir   string
	stop  func()

	patience, keeping time.Duration // of the room's; 0 is its own

	mu       sync.Mutex
	now      time.Time
	pressure string
	rss      int64
	drilled  []string
	drill    func(ctx context.Context, path string) error
}

func newRig(t *testing.T, change func(*Config, *Deps)) *rig {
	t.Helper()
	r := &rig{t: t, b: bustest.New(t), dir: t.TempDir(), now: noon, pressure: bus.PressureNormal}
	r.store = roomtest.OpenStore(t, filepath.Join(r.dir, archive.DatabaseName), Schema, filler)
	r.cli = r.b.Connect(t, "cli", bus.BackupCreate, bus.BackupTake, bus.BackupFinish, bus.BackupGet)
	err := r.b.Connect(t, "governor").Handle(t.Context(), bus.MemoryRead.Answer(func(context.Context, bus.MemoryQuery) (bus.Memory, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return bus.Memory{Pressure: r.pressure, RSS: r.rss, Limit: 128 << 20}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	r.start(change)
	return r
}

// start begins the room anew on the same directory.
func (r *rig) start(change func(*Config, *Deps)) {
	r.t.Helper()
	r.noted()
	cfg := Defaults()
	d := Deps{Store: r.store, Events: eventlog.New(r.store), Started: r.clock(), Logger: bustest.Logger(r.t), Now: r.clock, Loc: time.UTC,
		Source: Source{Version: "v1", Node: "home", DataDir: r.dir, Workspace: filepath.Join(r.dir, "workspace"),
			Device: func() (string, error) { return "UPUBLIC", nil },
			Config: func() ([]ConfigFile, []string, error) {
				return []ConfigFile{{Name: "blufio.toml", Data: []byte("[openai]\napi_key = \"\"\n")}}, []string{"openai.api_key"}, nil
			},
			Look: func(ctx context.Context, s *sqlite.Store) (archive.Cut, archive.Vault, error) {
				st, err := eventlog.New(s).State(ctx)
				return archive.Cut{Event: uint64(st.Last), Epoch: st.Epoch}, archive.Vault{Source: "file", Secrets: 2}, err
			}}}
	d.Drill = func(ctx context.Context, path string) error {
		r.mu.Lock()
		r.drilled = append(r.drilled, path)
		drill := r.drill
		r.mu.Unlock()
		if drill == nil {
			return nil
		}
		return drill(ctx, path)
	}
	if change != nil {
		change(&cfg, &d)
	}
	room, err := New(cfg, d)
	if err != nil {
		r.t.Fatal(err)
	}
	room.bounds.tick, room.bounds.wait = 5*time.Millisecond, 50*time.Millisecond
	if r.patience > 0 {
		room.bounds.patience, room.bounds.keeping = r.patience, cmp.Or(r.keeping, r.patience)
	}
	r.room = room
	r.stop = roomtest.Start(r.t, r.b, room)
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

func (r *rig) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// fill puts n bytes that do not compress into the database.
func (r *rig) fill(n int) {
	r.t.Helper()
	data := make([]byte, n)
	_, _ = rand.Read(data)
	err := r.store.Write(r.t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`INSERT INTO filler (data) VALUES (?)`, data)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// until waits for something to become true.
func (r *rig) until(what string, true func() bool) {
	r.t.Helper()
	bustest.Eventually(r.t, what, true, func() any { return r.get(20) })
}

func (r *rig) get(files int) bus.BackupSummary {
	r.t.Helper()
	s, err := bus.BackupGet.Ask(r.t.Context(), r.cli, bus.BackupQuery{Files: files})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// noted waits for what was said to be written: all lazy writes come before this one.
func (r *rig) noted() {
	r.t.Helper()
	if err := r.store.Write(r.t.Context(), func(*sqlite.Tx) error { return nil }); err != nil {
		r.t.Fatal(err)
	}
}

// facts are the names of the events that were recorded, progress left out.
func (r *rig) facts() (names []string) {
	r.t.Helper()
	r.noted()
	rows, err := eventlog.New(r.store).After(r.t.Context(), 0, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, row := range rows {
		if name := strings.TrimPrefix(row.Subject, bus.Prefix+"evt.backup."); name != "progressed" {
			names = append(names, name)
		}
	}
	return names
}

// wantFacts wants these in the end: what happened is known a moment before it is told.
func (r *rig) wantFacts(want ...string) {
	r.t.Helper()
	var got []string
	bustest.Eventually(r.t, fmt.Sprintf("facts %v", want), func() bool { got = r.facts(); return len(got) >= len(want) }, func() any { return got })
	if !slices.Equal(got, want) {
		r.t.Errorf("facts %v, want %v", got, want)
	}
}

// wantClean wants nothing left of what was made on the way.
func (r *rig) wantClean(dirs ...string) {
	r.t.Helper()
	left, _ := os.ReadDir(Scratch(r.dir))
	for _, d := range dirs {
		entries, _ := os.ReadDir(d)
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".partial") || strings.HasPrefix(e.Name(), ".") {
				left = append(left, e)
			}
		}
	}
	if len(left) > 0 {
		r.t.Errorf("left behind: %v", left)
	}
}

func (r *rig) begin(q bus.BackupRequest) bus.BackupBegun {
	r.t.Helper()
	b, err := bus.BackupCreate.Ask(r.t.Context(), r.cli, q)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// take reads a backup to its end, asking for some pieces twice.
func (r *rig) take(id string) ([]byte, bus.BackupChunk) {
	r.t.Helper()
	var all []byte
	for {
		q := bus.BackupRead{ID: id, Offset: int64(len(all))}
		c, err := bus.BackupTake.Ask(r.t.Context(), r.cli, q)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(c.Data) > bus.BackupChunkBytes {
			r.t.Errorf("a piece of %d bytes", len(c.Data))
		}
		if len(c.Data) > 0 || c.EOF {
			again, err := bus.BackupTake.Ask(r.t.Context(), r.cli, q)
			if err != nil || !bytes.Equal(again.Data, c.Data) || again.EOF != c.EOF || again.SHA256 != c.SHA256 {
				r.t.Fatalf("asked again, the piece at %d is another one: %v", q.Offset, err)
			}
		}
		all = append(all, c.Data...)
		if c.EOF {
			if sum := sha256.Sum256(all); hex.EncodeToString(sum[:]) != c.SHA256 || c.Archive == nil || c.Archive.Bytes != int64(len(all)) {
				r.t.Errorf("%d bytes are not what they are said to be: %+v", len(all), c)
			}
			return all, c
		}
	}
}

func (r *rig) finish(e bus.BackupEnd) bus.BackupRun {
	r.t.Helper()
	out, err := bus.BackupFinish.Ask(r.t.Context(), r.cli, e)
	if err != nil {
		r.t.Fatal(err)
	}
	return out.Run
}

// problems are the codes of what the room says is wrong.
func (r *rig) problems() (codes []string) {
	for _, p := range r.room.Door().Health() {
		codes = append(codes, p.Code)
	}
	return codes
}
