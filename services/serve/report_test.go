// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/logring"
)

// Whatever a part has to say, it fits into one message, and of a log the end is there.
func TestReportPartsAreBounded(t *testing.T) {
	r := reporter{o: Options{Redactor: &config.Redactor{}}, ring: &logring.Ring{}}
	for name, line := range map[string]string{"plain": "0123456789\n", "escaped": "<<<<>>>>&&\n", "wide": "ääääääääää\n"} {
		for _, end := range []bool{false, true} {
			text := strings.Repeat(line, 200_000) + "the end\n"
			p := r.text(text, end)
			data, err := json.Marshal(p)
			if err != nil || len(data) > 1<<20-16<<10 || len(p.Text) < 100<<10 || !p.Cut || !utf8.ValidString(p.Text) {
				t.Errorf("%s: %d bytes, %d on the bus, %v", name, len(p.Text), len(data), err)
			}
			if end != strings.HasSuffix(p.Text, "the end\n") || end && !strings.HasPrefix(p.Text, line) {
				t.Errorf("%s: the wrong end: %.20q", name, p.Text)
			}
		}
	}
	if p := r.text("short", true); p.Text != "short" || p.Cut {
		t.Errorf("%+v", p)
	}
	for _, part := range []string{bus.PartGoroutines, bus.PartHeap} {
		if p, err := r.part(part); err != nil || len(p.Text)+len(p.Data) == 0 || len(p.Text)+len(p.Data) > bus.MaxReportPart {
			t.Errorf("%s: %d bytes, %v", part, len(p.Text)+len(p.Data), err)
		}
	}
	if _, err := r.part("passwords"); bus.CodeOf(err) != bus.CodeNotFound {
		t.Error(err)
	}
}

// A secret that became known after a line was kept is not in the report either.
func TestReportRedactsWhatWasKept(t *testing.T) {
	o := Options{Config: Defaults(), Logger: slog.New(slog.DiscardHandler), ring: &logring.Ring{}, Redactor: &config.Redactor{}}
	log := slog.New(o.ring.Handler(o.Logger.Handler()))
	log.Info("MARK", "key", "sesame-planted")
	if err := o.Redactor.Add(config.NewSecret("sesame-planted")); err != nil {
		t.Fatal(err)
	}
	p, err := reporter{o: o, ring: o.ring}.part(bus.PartLog)
	if err != nil || !strings.Contains(p.Text, "MARK") || strings.Contains(p.Text, "sesame") {
		t.Errorf("%+v, %v", p, err)
	}
}

// The configuration in a report is the one in force: of a reload what could change.
func TestReportHasTheConfigurationInForce(t *testing.T) {
	r := newReloadRig(t, map[string]string{"anthropic.api_key": `"sesame-planted"`})
	r.reload(map[string]string{"cost.daily_usd": "3", "daemon.node": `"other"`})
	p, err := bus.ReportGet.Ask(t.Context(), r.conn, bus.ReportQuery{Part: bus.PartConfig})
	if err != nil {
		t.Fatal(err)
	}
	var shown Shown
	if err := json.Unmarshal([]byte(p.Text), &shown); err != nil {
		t.Fatal(err)
	}
	got := map[string]Setting{}
	for _, s := range shown.Keys {
		got[s.Key] = s
	}
	if s := got["cost.daily_usd"]; s.Value != 3.0 || s.Source != config.FromFile || s.Line == 0 || !s.Live || !s.Changed {
		t.Errorf("%+v", s)
	}
	if s := got["daemon.node"]; s.Value != "" || s.Source != config.FromDefault || s.Live {
		t.Errorf("%+v", s)
	}
	if s := got["anthropic.api_key"]; s.Value != "[redacted]" || strings.Contains(p.Text, "sesame") {
		t.Errorf("%+v", s)
	}
}
