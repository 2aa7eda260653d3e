// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/eventlog"
)

// What the command behind a backup says may have secrets in it: nothing that is kept, told or
// logged repeats one, however it is cut off.
func TestAfterLetsNoSecretOut(t *testing.T) {
	const secret = "a-planted-secret-0123456789"
	red := &config.Redactor{}
	if err := red.Add(config.NewSecret(secret)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"as it is":           "echo key=" + secret + " refused >&2; exit 1",
		"cut off in front":   "echo " + strings.Repeat("x", 10_000) + secret + strings.Repeat("y", maxOutput-24) + " refused; exit 1",
		"cut off behind":     "echo " + strings.Repeat("x ", 960) + strings.Repeat("z", 40) + secret + " refused; exit 1",
		"in front of a host": "echo 'dial https://me:another-secret-word@host.invalid/x: refused'; exit 1",
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			r := newRig(t, func(c *Config, d *Deps) {
				c.After, c.DrillEvery = []string{script(t, text)}, 0
				d.Redact, d.Logger = red.Redact, slog.New(slog.NewTextHandler(&log, nil))
			})
			r.due(settling)
			r.until("the failure is known", func() bool { return r.get(0).LastFailure != nil })
			_ = r.facts() // they are noted
			if !strings.Contains(r.get(0).LastFailure.Error, "exit status 1") {
				t.Errorf("the failure is %+v", r.get(0).LastFailure)
			}
			r.stop()
			said := log.String() + r.told()
			for _, part := range []string{secret[:12], secret[len(secret)-12:], "another-secret-word"} {
				if strings.Contains(said, part) {
					t.Errorf("%q is told", part)
				}
			}
		})
	}
}

// told is all that is in the tables that tell of backups.
func (r *rig) told() string {
	r.t.Helper()
	r.noted()
	rows, err := r.store.Query(r.t.Context(), `SELECT payload FROM backup_last`)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	var all strings.Builder
	for rows.Next() {
		var payload []byte
		if err := rows.Scan(&payload); err != nil {
			r.t.Fatal(err)
		}
		all.Write(payload)
	}
	events, err := eventlog.New(r.store).After(r.t.Context(), 0, 1000)
	if err != nil || rows.Err() != nil {
		r.t.Fatal(err, rows.Err())
	}
	for _, e := range events {
		all.Write(e.Payload)
	}
	return all.String()
}

// A drill that failed is no problem any more where none is made: nothing could end it.
func TestDrillSwitchedOff(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, nil)
	r.set(func() { r.drill = func(context.Context, string) error { return errors.New("it does not start") } })
	r.due(settling)
	r.until("the drill fails", func() bool { return len(r.problems()) == 1 })
	_ = r.facts() // it is noted
	for name, c := range map[string]struct {
		change func(*Config)
		why    string
		seen   string
	}{
		"no drills":    {func(c *Config) { c.DrillEvery = 0 }, bus.NotDrilledOff, "no schedule"},
		"no schedule":  {func(c *Config) { c.Every = 0 }, bus.NotDrilledOff, "no schedule"},
		"to be opened": {func(c *Config) { c.Recipients = []string{key.Recipient().String()} }, bus.NotDrilledEncrypted, "cannot open"},
	} {
		r.stop()
		r.start(func(cfg *Config, _ *Deps) { c.change(cfg) })
		if p := r.problems(); len(p) > 0 {
			t.Errorf("%s: problems %v", name, p)
		}
		r.wantProbe("BLF-BAK-003", bus.LevelInfo, c.seen)
		r.wantMetrics(map[string]float64{`blufio_backup_spoiled{stage="drill"}`: 0})
		if got := r.get(0).NotDrilled; got != c.why {
			t.Errorf("%s: drills are not made for %q", name, got)
		}
	}
	r.stop()
	r.start(nil)
	if p := r.problems(); len(p) != 1 || r.get(0).NotDrilled != "" {
		t.Errorf("switched on again, the problems are %v", p)
	}
}

// Who has begun to encrypt is not warned for ever that the last drill was long ago.
func TestDrillsEndWithEncryption(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, nil)
	r.due(settling)
	r.until("it is tried", func() bool { return r.get(0).LastDrilled != nil })
	_ = r.facts() // it is noted
	r.stop()
	r.start(func(c *Config, _ *Deps) { c.Recipients = []string{key.Recipient().String()} })
	r.pass(100 * 24 * time.Hour)
	r.wantProbe("BLF-BAK-003", bus.LevelInfo, "the last time 100 days ago: the daemon cannot open what it encrypts")
}

// The copy is gone before the archive is taken apart again: two of the three that a backup is
// made of are there at a time, and that is what is asked for.
func TestSpaceOfTheSchedule(t *testing.T) {
	r := newRig(t, func(c *Config, _ *Deps) { c.Every = 0 })
	r.fill(1 << 20)
	s := r.room.d.Source
	one := s.Estimate(Wish{})
	if data, target := s.space(Wish{}, r.backups()); data != one || target != one {
		t.Errorf("before the directory is there: %d and %d, want %d", data, target, one)
	}
	if err := os.Mkdir(r.backups(), 0o700); err != nil {
		t.Fatal(err)
	}
	if data, target := s.space(Wish{}, r.backups()); data != 2*one || target != 2*one {
		t.Errorf("on one disk: %d and %d, want %d", data, target, 2*one)
	}
	if data, target := s.space(Wish{}, "/proc"); data != one || target != one {
		t.Errorf("on two: %d and %d, want %d", data, target, one)
	}
}

func TestWithin(t *testing.T) {
	dir := t.TempDir()
	work, link, away := filepath.Join(dir, "work"), filepath.Join(dir, "link"), filepath.Join(dir, "away")
	for _, err := range []error{os.MkdirAll(filepath.Join(work, "a", "b"), 0o700), os.Symlink(filepath.Join(work, "a"), link), os.Mkdir(away, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{work, work, true}, {work + "/a/b", work, true}, {work + "/not/there", work, true}, {link, work, true}, {link + "/b", work, true}, {link + "/not/there", work, true},
		{work, work + "/a", false}, {away, work, false}, {work + "ing", work, false}, {dir, work, false}, {away + "/..b", away, true}, {"/not/here", "/not/here/below", false}, {"/not/here/below", "/not/here", true},
	} {
		if got := Within(c.path, c.dir); got != c.want {
			t.Errorf("%s within %s: %v", c.path, c.dir, got)
		}
	}
}
