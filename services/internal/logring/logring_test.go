// SPDX-License-Identifier: MIT OR Apache-2.0

package logring

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestKeepsTheLastWithinItsBound(t *testing.T) {
	r := &Ring{}
	log := slog.New(r.Handler(slog.DiscardHandler)).With("service", "test")
	for i := range 10_000 {
		log.Info("a line like any other", "n", i)
		if r.Bytes() > MaxBytes {
			t.Fatalf("%d bytes are kept", r.Bytes())
		}
	}
	text := r.Text()
	if len(text) != r.Bytes() || len(text) < MaxBytes-200 {
		t.Errorf("%d bytes are kept, %d are counted", len(text), r.Bytes())
	}
	if strings.Contains(text, " n=0\n") || !strings.HasSuffix(text, "service=test n=9999\n") {
		t.Errorf("kept %.100s … %s", text, text[len(text)-100:])
	}
	log.Info(strings.Repeat("ä", maxLine))
	if lines := strings.Split(r.Text(), "\n"); len(lines[len(lines)-2]) > maxLine || !strings.HasSuffix(r.Text(), cut) || !utf8.ValidString(r.Text()) {
		t.Error("a long line is not cut")
	}
}

// What is logged elsewhere does not depend on what is kept, nor the other way round.
func TestLevels(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelError} {
		var out bytes.Buffer
		r := &Ring{}
		log := slog.New(r.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))).WithGroup("g")
		log.Debug("one", "k", 1)
		log.Info("two", "k", 2)
		log.Error("three", "k", 3)
		if got := fmt.Sprint(strings.Count(out.String(), "\n")); got != map[slog.Level]string{slog.LevelDebug: "3", slog.LevelInfo: "2", slog.LevelError: "1"}[level] {
			t.Errorf("%s: %s", level, &out)
		}
		if text := r.Text(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "msg=two g.k=2") || !strings.Contains(text, "msg=three g.k=3") {
			t.Errorf("%s: kept %s", level, text)
		}
	}
}
