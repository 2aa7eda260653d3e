// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/backup/archive"
)

func TestStream(t *testing.T) {
	r := newRig(t, nil)
	r.fill(3 << 20)
	if err := os.MkdirAll(filepath.Join(r.dir, "workspace", "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b", "a.txt"} { // in the archive's order the second comes first
		if err := os.WriteFile(filepath.Join(r.dir, "workspace", name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("/etc/passwd", filepath.Join(r.dir, "workspace", "link")), os.WriteFile(filepath.Join(r.dir, archive.DeviceKeyName), []byte("SUSEED"), 0o600)); err != nil {
		t.Fatal(err)
	}
	b := r.begin(bus.BackupRequest{IncludeWorkspace: true, IncludeDeviceKey: true})
	data, last := r.take(b.ID)
	if len(data) < 3<<20 || int64(len(data)) > b.EstimateBytes {
		t.Errorf("%d bytes, the estimate was %d", len(data), b.EstimateBytes)
	}
	run := r.finish(bus.BackupEnd{ID: b.ID, Path: "/elsewhere/x"})
	if run.Path != "/elsewhere/x" || run.Bytes != int64(len(data)) || run.SHA256 != last.SHA256 || run.Error != "" {
		t.Errorf("%+v", run)
	}
	if again := r.finish(bus.BackupEnd{ID: b.ID, Path: "/other"}); again != run {
		t.Errorf("finished again it is %+v", again)
	}
	path := filepath.Join(t.TempDir(), b.Name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := archive.Verify(t.Context(), path, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := report.Manifest
	var names []string
	for _, f := range m.Files {
		names = append(names, f.Name)
	}
	if want := []string{"blufio.db", "device.pub", "config/01-blufio.toml", "device.nk", "workspace/a.txt", "workspace/a/b"}; !slices.Equal(names, want) || m.LeftOut.Links != 1 {
		t.Errorf("files %v, %+v", names, m.LeftOut)
	}
	if m.Rows["filler"] != 1 || m.Node != "home" || m.Device != "UPUBLIC" || m.Cut.Epoch == "" || !slices.Equal(m.Stripped, []string{"openai.api_key"}) || m.Vault.Secrets != 2 {
		t.Errorf("manifest %+v", m)
	}
	r.wantFacts("started", "completed")
	if s := r.get(0); s.LastSuccess == nil || s.LastSuccess.ID != b.ID || s.Running != nil || s.LastFailure != nil {
		t.Errorf("%+v", s)
	}
	r.wantClean()
}

// While one is made the others are told to come back, and so is everybody while memory is
// critical.
func TestOneAtATime(t *testing.T) {
	r := newRig(t, nil)
	b := r.begin(bus.BackupRequest{})
	var e *bus.Error
	if _, err := bus.BackupCreate.Ask(t.Context(), r.cli, bus.BackupRequest{}); !errors.As(err, &e) || e.Code != bus.CodeBusy || e.RetryAfter == 0 {
		t.Errorf("the second: %v", err)
	}
	if s := r.get(0); s.Running == nil || s.Running.ID != b.ID {
		t.Errorf("%+v", s.Running)
	}
	r.take(b.ID)
	r.finish(bus.BackupEnd{ID: b.ID, Path: "-"})
	r.until("the place is free", func() bool { return r.get(0).Running == nil })
	r.set(func() { r.pressure = bus.PressureCritical })
	if _, err := bus.BackupCreate.Ask(t.Context(), r.cli, bus.BackupRequest{}); !errors.As(err, &e) || e.Code != bus.CodeBusy || e.RetryAfter == 0 {
		t.Errorf("while memory is critical: %v", err)
	}
	r.set(func() { r.pressure = bus.PressureWarn })
	b = r.begin(bus.BackupRequest{})
	r.take(b.ID)
	r.finish(bus.BackupEnd{ID: b.ID, Path: "-"})
}

// Who goes away in the middle holds nothing up.
func TestReaderGoes(t *testing.T) {
	r := newRig(t, nil)
	r.fill(3 << 20)
	for _, far := range []string{"at once", "in the middle", "before the word that it is kept"} {
		r.stop()
		r.patience = 500 * time.Millisecond
		if far == "before the word that it is kept" {
			r.patience = 4 * time.Second // enough to read it all
		}
		r.start(nil)
		b := r.begin(bus.BackupRequest{})
		switch far {
		case "in the middle":
			r.until("a piece", func() bool {
				c, err := bus.BackupTake.Ask(t.Context(), r.cli, bus.BackupRead{ID: b.ID})
				return err == nil && len(c.Data) > 0
			})
		case "before the word that it is kept":
			r.take(b.ID)
		}
		r.until(far, func() bool { return r.get(0).Running == nil })
		r.until("the failure is known", func() bool { f := r.get(0).LastFailure; return f != nil && f.ID == b.ID })
		if _, err := bus.BackupTake.Ask(t.Context(), r.cli, bus.BackupRead{ID: b.ID, Offset: 1 << 20}); err == nil {
			t.Errorf("%s: it still is told", far)
		}
		r.wantClean()
	}
	r.wantFacts("started", "failed", "started", "failed", "started", "failed")
	if p := r.problems(); len(p) != 0 { // it was not the daemon's
		t.Errorf("problems %v", p)
	}
}

func TestReaderSaysNo(t *testing.T) {
	r := newRig(t, nil)
	r.fill(3 << 20)
	for name, e := range map[string]bus.BackupEnd{"it cannot keep it": {Error: "disk full"}, "it is done before the end": {Path: "/x"}} {
		b := r.begin(bus.BackupRequest{})
		r.until("a piece", func() bool {
			c, err := bus.BackupTake.Ask(t.Context(), r.cli, bus.BackupRead{ID: b.ID})
			return err == nil && len(c.Data) > 0
		})
		e.ID = b.ID
		if run := r.finish(e); run.Error == "" || run.Path != "" {
			t.Errorf("%s: %+v", name, run)
		}
		r.wantClean()
		r.until("the place is free", func() bool { return r.get(0).Running == nil })
	}
	r.wantFacts("started", "failed", "started", "failed")
}

func TestReadingIsInOrder(t *testing.T) {
	r := newRig(t, nil)
	b := r.begin(bus.BackupRequest{})
	for name, q := range map[string]bus.BackupRead{"another backup": {ID: "x"}, "ahead": {ID: b.ID, Offset: 10 << 20}, "before it": {ID: b.ID, Offset: -1}} {
		if _, err := bus.BackupTake.Ask(t.Context(), r.cli, q); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	data, _ := r.take(b.ID)
	if _, err := bus.BackupTake.Ask(t.Context(), r.cli, bus.BackupRead{ID: b.ID, Offset: int64(len(data))}); len(data) > 0 && err == nil {
		t.Error("something comes behind the end")
	}
	r.finish(bus.BackupEnd{ID: b.ID, Path: "-"})
	for name, q := range map[string]bus.BackupRequest{"no recipient": {Recipients: []string{"nobody"}}, "too many": {Recipients: make([]string, bus.MaxBackupRecipients+1)}} {
		if _, err := bus.BackupCreate.Ask(t.Context(), r.cli, q); bus.CodeOf(err) != bus.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A stop in the middle is told, leaves nothing behind, and is no failure.
func TestStopInTheMiddle(t *testing.T) {
	r := newRig(t, nil)
	r.fill(3 << 20)
	b := r.begin(bus.BackupRequest{})
	r.until("a piece", func() bool {
		c, err := bus.BackupTake.Ask(t.Context(), r.cli, bus.BackupRead{ID: b.ID})
		return err == nil && len(c.Data) > 0
	})
	answers := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		for {
			if _, err := bus.BackupTake.Ask(ctx, r.cli, bus.BackupRead{ID: b.ID}); err != nil {
				answers <- err
				return
			}
		}
	}()
	r.stop()
	if err := <-answers; bus.CodeOf(err) != bus.CodeUnavailable {
		t.Errorf("the reader hears %v", err)
	}
	r.wantClean()
	r.start(nil)
	r.wantFacts("started")
	if s := r.get(0); s.LastFailure != nil || s.Running != nil {
		t.Errorf("%+v", s)
	}
}
