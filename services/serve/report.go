// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/clip"
	"github.com/blufio/blufio/services/internal/logring"
)

// reporter gives what only the process itself can say of itself.
type reporter struct {
	o      Options
	ring   *logring.Ring
	config *reloader
	names  func() []string // of the vault's secrets
}

// part answers ctl.report. Text is redacted before it is cut, and bounded.
func (r reporter) part(name string) (bus.ReportPart, error) {
	switch name {
	case bus.PartConfig:
		text, err := r.settings()
		return r.text(text, false), err
	case bus.PartLog:
		return r.text(r.ring.Text(), true), nil
	case bus.PartGoroutines:
		stacks := make([]byte, bus.MaxReportPart) // Stack fills no more than that
		n := runtime.Stack(stacks, true)
		p := r.text(string(stacks[:n]), false)
		p.Cut = p.Cut || n == len(stacks)
		return p, nil
	case bus.PartHeap:
		return heap()
	}
	return bus.ReportPart{}, bus.Errorf(bus.CodeNotFound, "a report has no part %q", name)
}

// settings is the configuration in force: what was read last of the keys that change
// live, what was read first of the others.
func (r reporter) settings() (string, error) {
	if r.o.Loaded == nil {
		return "", bus.Errorf(bus.CodeUnavailable, "the daemon does not know where its configuration came from")
	}
	first, last := Effective{Loaded: r.o.Loaded, Vaulted: r.names()}, Effective{Loaded: r.config.latest(), Vaulted: r.names()}
	shown := first.Shown(nil)
	for _, key := range first.Keys() {
		if !first.IsLive(key) {
			shown.Keys = append(shown.Keys, first.Setting(key))
		}
	}
	for _, key := range last.Keys() {
		if last.IsLive(key) {
			shown.Keys = append(shown.Keys, last.Setting(key))
		}
	}
	data, err := json.MarshalIndent(shown, "", "  ")
	return string(data) + "\n", err
}

// text redacts and bounds; of a log the end counts.
func (r reporter) text(text string, end bool) bus.ReportPart {
	p := bus.ReportPart{Text: r.o.Redactor.Redact(text)}
	for most := bus.MaxReportPart; tooLarge(p); most /= 2 {
		p.Cut = true
		more := max(len(p.Text)-most, 0)
		if end {
			_, p.Text, _ = strings.Cut(p.Text[more:], "\n")
		} else {
			p.Text = clip.Bytes(p.Text, len(p.Text)-more)
		}
	}
	return p
}

// tooLarge: as text, or on the bus, where some characters take six bytes.
func tooLarge(p bus.ReportPart) bool {
	if len(p.Text) > bus.MaxReportPart {
		return true
	}
	data, err := json.Marshal(p)
	return err == nil && len(data) > bus.MaxReportPart*3/2
}

// heap is a profile of what is alive. A part of one cannot be read, so it is all or
// nothing.
func heap() (bus.ReportPart, error) {
	var b bytes.Buffer
	if err := pprof.Lookup("heap").WriteTo(&b, 0); err != nil {
		return bus.ReportPart{}, fmt.Errorf("write heap profile: %w", err)
	}
	if b.Len() > bus.MaxReportPart {
		return bus.ReportPart{}, bus.Errorf(bus.CodeTooLarge, "the heap's profile has %d bytes", b.Len())
	}
	return bus.ReportPart{Data: b.Bytes()}, nil
}
