// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/backup/archive"
	"github.com/prometheus/client_golang/prometheus"
)

// due lets the time come and waits for a backup.
func (r *rig) due(d time.Duration) *bus.BackupRun {
	r.t.Helper()
	before := r.get(0).LastSuccess
	r.pass(d)
	r.until("a backup", func() bool {
		s := r.get(0)
		return s.LastSuccess != nil && s.Running == nil && (before == nil || s.LastSuccess.ID != before.ID)
	})
	return r.get(0).LastSuccess
}

func (r *rig) backups() string { return filepath.Join(r.dir, "backups") }

func (r *rig) probe(id string) services.Result {
	r.t.Helper()
	for _, p := range Probes(r.room) {
		if p.ID == id {
			return p.Run(r.t.Context())
		}
	}
	r.t.Fatalf("no check %s", id)
	return services.Result{}
}

func (r *rig) wantProbe(id, level, seen string) {
	r.t.Helper()
	if got := r.probe(id); got.Level != level || !strings.Contains(got.Seen, seen) {
		r.t.Errorf("%s is %s: %q, want %s with %q", id, got.Level, got.Seen, level, seen)
	}
}

// wantMetrics wants series by name, with their one label.
func (r *rig) wantMetrics(want map[string]float64) {
	r.t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.room.Door().Metrics...)
	families, err := registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += fmt.Sprintf("{%s=%q}", l.GetName(), l.GetValue())
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			r.t.Errorf("%s is %v (there: %v), want %v", name, v, ok, value)
		}
	}
}

// A day of the schedule after the other: verified, thinned out, and known after a restart.
func TestSchedule(t *testing.T) {
	r := newRig(t, func(c *Config, _ *Deps) { c.KeepDaily, c.KeepWeekly, c.KeepMonthly, c.DrillEvery = 2, 0, 0, 0 })
	r.wantProbe("BLF-BAK-001", bus.LevelOK, "the first is due at 2026-11-23 12:10")
	r.wantProbe("BLF-BAK-002", bus.LevelSkip, "none")
	r.wantProbe("BLF-BAK-004", bus.LevelOK, "free")
	if err := os.MkdirAll(r.backups(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"blufio-home-20261101T000000Z.tar.zst.partial", "blufio-other-20261101T000000Z.tar.zst.partial", "notes.txt", "blufio-other-20261101T000000Z.tar.zst"} {
		if err := os.WriteFile(filepath.Join(r.backups(), name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := r.due(settling)
	want := filepath.Join(r.backups(), "blufio-home-20261123T121000Z.tar.zst")
	if first.Path != want || !first.Scheduled || first.Bytes == 0 {
		t.Errorf("%+v", first)
	}
	if _, err := archive.Verify(t.Context(), want, archive.Options{}); err != nil {
		t.Error(err)
	}
	r.until("it is known to be verified", func() bool { v := r.get(0).LastVerified; return v != nil && v.Path == want })
	r.wantProbe("BLF-BAK-002", bus.LevelOK, filepath.Base(want))
	r.due(24 * time.Hour)
	r.due(24 * time.Hour)
	r.until("the third is alone with the second, and another's", func() bool { return len(r.get(20).Files) == 3 })
	entries, err := os.ReadDir(r.backups())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	if want := []string{"blufio-home-20261124T121000Z.tar.zst", "blufio-home-20261125T121000Z.tar.zst", "blufio-other-20261101T000000Z.tar.zst",
		"blufio-other-20261101T000000Z.tar.zst.partial", "notes.txt"}; !slices.Equal(names, want) {
		t.Errorf("there are %v, want %v", names, want)
	}
	r.wantFacts("started", "completed", "verified", "started", "completed", "verified", "started", "completed", "verified")
	r.wantClean()
	before := r.get(20)
	r.stop()
	r.start(func(c *Config, _ *Deps) { c.DrillEvery = 0 })
	if after := r.get(20); after.LastSuccess.ID != before.LastSuccess.ID || after.LastVerified.Path != before.LastVerified.Path || !after.NextDue.Equal(*before.NextDue) {
		t.Errorf("after a restart %+v, before %+v", after, before)
	}
}

// A daemon gets another name, as a container does that is made anew without one. In the
// directory of its own it knows by the device's key what it made before; where several may
// write, the name alone counts.
func TestFormerNames(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	left := []string{"blufio-before-20261125T121000Z.tar.zst.age", "blufio-home-20261126T121000Z.tar.zst", "blufio-home-20261127T121000Z.tar.zst",
		"blufio-stranger-20261123T000000Z.tar.zst.partial", "blufio-stranger-20261123T121000Z.tar.zst"}
	for name, c := range map[string]struct {
		dir   string
		shown int
		want  []string
	}{
		"its own":    {"", 4, left},
		"configured": {t.TempDir(), 2, append([]string{"blufio-before-20261124T000000Z.tar.zst.partial", "blufio-before-20261124T121000Z.tar.zst"}, left...)},
	} {
		t.Run(name, func(t *testing.T) {
			as := func(node, device string, to ...string) func(*Config, *Deps) {
				return func(cfg *Config, d *Deps) {
					cfg.Dir, cfg.KeepDaily, cfg.KeepWeekly, cfg.KeepMonthly, cfg.DrillEvery, cfg.Recipients = c.dir, 2, 0, 0, 0, to
					d.Source.Node, d.Source.Device = node, func() (string, error) { return device, nil }
				}
			}
			r := newRig(t, as("stranger", "USTRANGER"))
			r.fill(1 << 20) // half of the file says what it is
			next := func(change func(*Config, *Deps)) string {
				r.stop()
				r.start(change)
				return r.due(24 * time.Hour).Path
			}
			stranger, before := r.due(settling).Path, next(as("before", "UPUBLIC"))
			next(as("before", "UPUBLIC", key.Recipient().String()))
			for _, path := range []string{stranger, before} { // what a kill leaves
				data, err := os.ReadFile(path)
				if err == nil {
					err = os.WriteFile(strings.Replace(path, "T121000Z", "T000000Z", 1)+".partial", data[:len(data)/2], 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			next(as("home", "UPUBLIC"))
			last := r.due(24 * time.Hour)
			var got []string
			entries, err := os.ReadDir(filepath.Dir(last.Path))
			for _, e := range entries {
				got = append(got, e.Name())
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("there are %v (%v), want %v", got, err, c.want)
			}
			if n := len(r.get(20).Files); n != c.shown {
				t.Errorf("%d are shown, want %d", n, c.shown)
			}
			r.wantMetrics(map[string]float64{"blufio_backup_files": 2})
			r.wantProbe("BLF-BAK-002", bus.LevelOK, filepath.Base(last.Path))
		})
	}
}

// A failure is told everywhere, tried again later and later, and forgotten with a success.
func TestScheduleFailsLoudly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk")
	change := func(c *Config, _ *Deps) { c.Dir, c.DrillEvery = dir, 0 }
	r := newRig(t, change)
	r.wantProbe("BLF-BAK-004", bus.LevelFail, "does not exist")
	r.pass(settling)
	r.until("it fails", func() bool { return r.get(0).Failures == 1 })
	s := r.get(0)
	if s.LastFailure == nil || !strings.Contains(s.LastFailure.Error, "no such file") || s.LastSuccess != nil || !s.NextDue.Equal(r.clock().Add(retryFirst)) {
		t.Errorf("%+v", s)
	}
	if p := r.problems(); !slices.Equal(p, []string{problemFailed}) {
		t.Errorf("problems %v", p)
	}
	r.wantProbe("BLF-BAK-001", bus.LevelFail, "no such file")
	r.wantMetrics(map[string]float64{"blufio_backup_failed_in_a_row": 1, `blufio_backup_failures_total{stage="copy"}`: 1, "blufio_backup_last_success_timestamp_seconds": 0})
	r.pass(retryFirst)
	r.until("it fails again", func() bool { return r.get(0).Failures == 2 })
	r.wantFacts("started", "failed", "started", "failed")
	r.stop()
	r.start(change)
	if s := r.get(0); s.Failures != 2 || len(r.problems()) != 1 {
		t.Errorf("a restart forgets: %+v", s)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.due(2 * retryFirst)
	if s := r.get(0); s.Failures != 0 || len(r.problems()) != 0 {
		t.Errorf("%+v, problems %v", s, r.problems())
	}
	now := float64(r.clock().Unix())
	r.until("it is known to be verified", func() bool { return r.get(0).LastVerified != nil })
	r.wantMetrics(map[string]float64{"blufio_backup_failed_in_a_row": 0, "blufio_backup_last_success_timestamp_seconds": now,
		"blufio_backup_last_verified_timestamp_seconds": now, "blufio_backup_every_seconds": 86400, `blufio_backup_spoiled{stage="after"}`: 0, "blufio_backup_running": 0})
	r.wantProbe("BLF-BAK-001", bus.LevelOK, "just now")
	r.wantClean(dir)
}

func TestScheduleWaitsForMemory(t *testing.T) {
	r := newRig(t, nil)
	r.set(func() { r.pressure = bus.PressureCritical })
	r.pass(settling)
	r.until("it is put off", func() bool { return r.get(0).NextDue.After(r.clock()) })
	r.wantFacts()
	r.set(func() { r.pressure = bus.PressureNormal })
	r.due(deferral)
}

func TestNoSchedule(t *testing.T) {
	r := newRig(t, func(c *Config, _ *Deps) { c.Every = 0 })
	r.pass(999 * time.Hour)
	r.wantProbe("BLF-BAK-001", bus.LevelInfo, "no schedule")
	r.wantProbe("BLF-BAK-004", bus.LevelSkip, "no schedule")
	if s := r.get(0); s.NextDue != nil || s.Every != 0 || len(r.problems()) != 0 {
		t.Errorf("%+v", s)
	}
	r.wantFacts()
}

// script writes a program and returns its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "send")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	return path
}

func TestAfter(t *testing.T) {
	t.Setenv("BLUFIO_VAULT_KEY", "not for others")
	out := filepath.Join(t.TempDir(), "out")
	r := newRig(t, func(c *Config, _ *Deps) {
		c.After, c.DrillEvery = []string{script(t, `echo "$1 $2 ${BLUFIO_VAULT_KEY:-none}" > `+out), "first"}, 0
	})
	run := r.due(settling)
	want := "first " + run.Path + " none\n"
	r.until("it is sent", func() bool { got, _ := os.ReadFile(out); return string(got) == want })
	if p := r.problems(); len(p) != 0 {
		t.Errorf("problems %v", p)
	}
}

// The command that sends backups away fails, or hangs: the backup counts, and that is told.
func TestAfterFailsLoudly(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
		limit      time.Duration
	}{
		"it fails":           {"echo no such host >&2; exit 3", "exit status 3: no such host", time.Minute},
		"it hangs":           {"echo sending; sleep 1000", "it took longer than 300ms: sending", 300 * time.Millisecond},
		"it does not listen": {"trap '' TERM; (trap '' TERM; sleep 1000) & sleep 1000", "it took longer than 300ms", 300 * time.Millisecond},
		"it is not there":    {"", "no such file", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := func(cfg *Config, _ *Deps) {
				cfg.After, cfg.AfterTimeout, cfg.DrillEvery = []string{"/nowhere/command"}, c.limit, 0
				if c.text != "" {
					cfg.After = []string{script(t, c.text)}
				}
			}
			r := newRig(t, change)
			run := r.due(settling)
			r.until("the failure is known", func() bool { return r.get(0).LastFailure != nil })
			if f := r.get(0).LastFailure; f.Stage != bus.BackupAfter || f.Path != run.Path || !strings.Contains(f.Error, c.want) {
				t.Errorf("%+v", f)
			}
			if p := r.problems(); !slices.Equal(p, []string{problemUnsent}) {
				t.Errorf("problems %v", p)
			}
			r.wantProbe("BLF-BAK-001", bus.LevelFail, "not sent away")
			r.wantFacts("started", "completed", "verified", "failed")
			r.stop()
			r.start(change)
			if p := r.problems(); !slices.Equal(p, []string{problemUnsent}) {
				t.Errorf("after a restart the problems are %v", p)
			}
		})
	}
}

func TestOutputIsBounded(t *testing.T) {
	err := Command(t.Context(), time.Minute, []string{script(t, "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 1")})
	if err == nil || len(err.Error()) > maxOutput+200 || !strings.HasSuffix(err.Error(), "line 2999") {
		t.Errorf("%d bytes: %.100v", len(fmt.Sprint(err)), err)
	}
}

// A second daemon is not started where there is no memory for it.
func TestDrillWaitsForMemory(t *testing.T) {
	var log bustest.Text
	r := newRig(t, func(c *Config, d *Deps) {
		c.Every, c.DrillEvery = 6*time.Hour, 12*time.Hour
		d.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	r.set(func() { r.rss = 60 << 20 })
	r.due(settling)
	r.until("the drill is put off", func() bool { return strings.Contains(log.String(), "drill put off") })
	r.set(func() {
		if len(r.drilled) > 0 {
			t.Error("it was tried all the same")
		}
		r.rss = 40 << 20
	})
	r.until("the drill is made", func() bool { return r.get(0).LastDrilled != nil })
	if n := strings.Count(log.String(), "drill put off"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestDrill(t *testing.T) {
	r := newRig(t, func(c *Config, _ *Deps) { c.Every, c.DrillEvery = 6*time.Hour, 12*time.Hour })
	r.set(func() { r.drill = func(context.Context, string) error { return errors.New("it does not start") } })
	r.wantProbe("BLF-BAK-003", bus.LevelOK, "not yet")
	first := r.due(settling)
	r.until("the drill fails", func() bool { return len(r.problems()) == 1 })
	if p := r.problems(); !slices.Equal(p, []string{problemUndrilled}) || r.get(0).LastFailure.Stage != bus.BackupDrill {
		t.Errorf("problems %v", p)
	}
	r.wantProbe("BLF-BAK-003", bus.LevelFail, "it does not start")
	r.wantProbe("BLF-BAK-001", bus.LevelOK, "just now")
	r.set(func() { r.drill = nil })
	second := r.due(6 * time.Hour)
	r.until("the drill works", func() bool { return r.get(0).LastDrilled != nil })
	if p := r.problems(); len(p) != 0 || r.get(0).LastDrilled.Path != second.Path {
		t.Errorf("problems %v, %+v", p, r.get(0).LastDrilled)
	}
	third := r.due(6 * time.Hour)
	fourth := r.due(6 * time.Hour)
	r.until("the fourth is tried, too", func() bool { return r.get(0).LastDrilled.Path == fourth.Path })
	r.mu.Lock()
	defer r.mu.Unlock()
	if want := []string{first.Path, second.Path, fourth.Path}; !slices.Equal(r.drilled, want) {
		t.Errorf("tried were %v, want %v and not %s", r.drilled, want, third.Path)
	}
}

// What the daemon encrypts it cannot open: it is read again, and not tried.
func TestEncryptedSchedule(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config, _ *Deps) { c.Recipients = []string{key.Recipient().String()} })
	run := r.due(settling)
	if !strings.HasSuffix(run.Path, bus.BackupSealed) {
		t.Errorf("%s", run.Path)
	}
	if _, err := archive.Verify(t.Context(), run.Path, archive.Options{Identities: []archive.Identity{key}}); err != nil {
		t.Error(err)
	}
	if _, err := archive.Verify(t.Context(), run.Path, archive.Options{}); !errors.Is(err, archive.ErrEncrypted) {
		t.Errorf("without the key: %v", err)
	}
	r.until("it is known to be verified", func() bool { return r.get(0).LastVerified != nil })
	r.wantProbe("BLF-BAK-002", bus.LevelInfo, "encrypted")
	r.wantProbe("BLF-BAK-003", bus.LevelInfo, "cannot open")
}
