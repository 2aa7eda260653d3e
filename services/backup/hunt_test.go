// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/backup/archive"
	"golang.org/x/sys/unix"
)

// A schedule that was switched off while it failed is no problem, and nothing is promised.
func TestScheduleSwitchedOff(t *testing.T) {
	r := newRig(t, func(c *Config, _ *Deps) { c.Dir = filepath.Join(t.TempDir(), "gone") })
	r.pass(settling)
	r.until("the schedule fails", func() bool { return r.get(0).Failures > 0 })
	_ = r.facts() // it is noted
	r.stop()
	r.start(func(c *Config, _ *Deps) { c.Every = 0 })
	for _, p := range r.room.Door().Health() {
		t.Errorf("%s: %s (%s)", p.Code, p.Title, p.Hint)
	}
}

// A workspace that the data directory is in has keys in it, and the very files that the
// backup is made of.
func TestWorkspaceAroundTheData(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, s *Source){
		"the same": func(_ *testing.T, s *Source) { s.Workspace = s.DataDir },
		"around":   func(_ *testing.T, s *Source) { s.Workspace = filepath.Dir(s.DataDir) },
		"by a link": func(t *testing.T, s *Source) {
			s.Workspace = filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(s.DataDir, s.Workspace); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *Config, d *Deps) {
				if err := os.WriteFile(filepath.Join(d.Source.DataDir, "vault.key"), []byte("key"), 0o600); err != nil {
					t.Fatal(err)
				}
				change(t, &d.Source)
			})
			b := r.begin(bus.BackupRequest{IncludeWorkspace: true})
			var err error
			var c bus.BackupChunk
			for err == nil && !c.EOF {
				c, err = bus.BackupTake.Ask(t.Context(), r.cli, bus.BackupRead{ID: b.ID})
			}
			if err == nil || !strings.Contains(err.Error(), "the data directory is in the workspace") {
				t.Errorf("%v", err)
			}
		})
	}
}

// What waits to be sent away when the daemon stops is told of.
func TestWaitingCommandIsTold(t *testing.T) {
	running := filepath.Join(t.TempDir(), "running")
	change := func(c *Config, _ *Deps) {
		c.After, c.DrillEvery = []string{script(t, "echo >>"+running+"; sleep 60")}, 0
	}
	r := newRig(t, change)
	r.due(settling)
	r.until("the first is being sent", func() bool { _, err := os.Stat(running); return err == nil })
	r.pass(time.Minute) // another name
	second := r.due(24 * time.Hour)
	r.until("it is done with", func() bool { return r.get(0).Running == nil })
	r.stop()
	_ = r.facts() // they are noted
	r.start(change)
	if f := r.get(0).LastFailure; f == nil || f.Stage != bus.BackupAfter || f.Path != second.Path {
		t.Errorf("%+v, want one of %s", f, second.Path)
	}
}

// A stop does not wait for a large workspace.
func TestWorkspaceEndsWithItsContext(t *testing.T) {
	from := t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "large"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := (&Cut{dir: t.TempDir()}).copyWorkspace(ctx, from, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A file of the workspace may be another thing when it is opened, or be written to for ever:
// a pipe that nobody writes to does not hold up a backup, nor one that grows fill the disk.
func TestWorkspaceFilesChange(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600), os.WriteFile(filepath.Join(dir, "log"), []byte("four"), 0o600)); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	c := &Cut{dir: t.TempDir()}
	if err := c.copyFile(t.Context(), root, "pipe"); err != nil || c.LeftOut.Special != 1 {
		t.Errorf("a pipe: %v, %+v", err, c.LeftOut)
	}
	if err := c.copyFile(&growing{Context: t.Context(), path: filepath.Join(dir, "log")}, root, "log"); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(c.path(archive.WorkspaceDir + "log")); err != nil || string(got) != "four" {
		t.Errorf("of what grows there is %q, %v", got, err)
	}
}

// growing is a context in which a file grows whenever somebody looks whether it has ended.
type growing struct {
	context.Context
	path string
	n    int
}

func (g *growing) Err() error {
	if g.n++; g.n > 100 {
		return errors.New("it is copied for ever")
	}
	f, err := os.OpenFile(g.path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("more")
		err = errors.Join(err, f.Close())
	}
	return err
}

// Who has read all of it brings it to a disk that may be slow, and asks for nothing meanwhile.
func TestKeepingTakesItsTime(t *testing.T) {
	r := newRig(t, nil)
	r.stop()
	r.patience, r.keeping = 2*time.Second, time.Minute
	r.start(nil)
	b := r.begin(bus.BackupRequest{})
	r.take(b.ID)
	time.Sleep(r.patience + r.patience/2) // nothing is to happen in it
	if run := r.finish(bus.BackupEnd{ID: b.ID, Path: "/x"}); run.Error != "" || run.Path != "/x" {
		t.Errorf("%+v", run)
	}
}

// A daemon that is killed while a backup waits to be sent away, or is sent, knows of it after
// its next start.
func TestUnsentIsKnownAfterAKill(t *testing.T) {
	dir := t.TempDir()
	running, goOn := filepath.Join(dir, "running"), filepath.Join(dir, "go")
	r := newRig(t, func(c *Config, _ *Deps) {
		c.After, c.DrillEvery = []string{script(t, "echo >>"+running+"; while [ ! -e "+goOn+" ]; do sleep 0.01; done")}, 0
	})
	run := r.due(settling)
	r.until("it is being sent", func() bool { _, err := os.Stat(running); return err == nil })
	known := func() *bus.BackupRun {
		_ = r.facts() // what is said is noted
		h, err := readHistory(t.Context(), r.store)
		if err != nil {
			t.Fatal(err)
		}
		return h.unsent
	}
	if u := known(); u == nil || u.Path != run.Path || u.Error == "" {
		t.Errorf("while it is sent, a next daemon would know of %+v", u)
	}
	if p := r.problems(); len(p) > 0 {
		t.Errorf("problems %v", p)
	}
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.until("it is sent", func() bool { return known() == nil })
}
