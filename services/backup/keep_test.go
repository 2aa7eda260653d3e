// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/services/backup/archive"
)

func at(t *testing.T, s string, loc *time.Location) time.Time {
	t.Helper()
	v, err := time.ParseInLocation("2006-01-02T15:04", s, loc)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRetention(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones here: ", err)
	}
	for _, c := range []struct {
		name     string
		k        keep
		loc      *time.Location
		verified string
		all      string // names that are their times, newest last
		want     string // that go, oldest first
	}{
		{name: "none", k: keep{1, 1, 1}},
		{name: "the only one", k: keep{1, 0, 0}, all: "2026-11-23T10:00"},
		{name: "one a day", k: keep{2, 0, 0}, all: "2026-11-20T10:00 2026-11-21T10:00 2026-11-22T10:00", want: "2026-11-20T10:00"},
		{name: "several a day", k: keep{2, 0, 0}, all: "2026-11-21T10:00 2026-11-21T23:00 2026-11-22T10:00 2026-11-22T11:00",
			want: "2026-11-21T10:00 2026-11-22T10:00"},
		{name: "days without any count for nothing", k: keep{3, 0, 0}, all: "2026-01-01T10:00 2026-05-01T10:00 2026-11-22T10:00"},
		{name: "weeks", k: keep{1, 2, 0}, all: "2026-11-08T10:00 2026-11-15T10:00 2026-11-16T10:00 2026-11-22T10:00",
			want: "2026-11-08T10:00 2026-11-16T10:00"}, // Sunday, Sunday, Monday, Sunday
		{name: "weeks across the year", k: keep{1, 2, 0}, all: "2026-12-27T10:00 2026-12-31T10:00 2027-01-01T10:00",
			want: "2026-12-31T10:00"},
		{name: "months", k: keep{1, 0, 3}, all: "2026-08-31T10:00 2026-09-01T10:00 2026-09-30T10:00 2026-10-02T10:00 2026-11-03T10:00 2026-11-22T10:00",
			want: "2026-08-31T10:00 2026-09-01T10:00 2026-11-03T10:00"},
		{name: "never the one verified last", k: keep{1, 0, 0}, verified: "2026-10-01T10:00", all: "2026-09-01T10:00 2026-10-01T10:00 2026-11-22T10:00",
			want: "2026-09-01T10:00"},
		{name: "never the newest", k: keep{0, 0, 0}, all: "2026-09-01T10:00 2026-11-22T10:00", want: "2026-09-01T10:00"},
		{name: "days are the owner's", k: keep{1, 0, 0}, loc: berlin, all: "2026-11-21T23:30 2026-11-22T00:30", want: "2026-11-21T23:30"},
		{name: "the hour that comes twice", k: keep{2, 0, 0}, loc: berlin, all: "2026-10-24T12:00 2026-10-25T01:30 2026-10-25T02:30 2026-10-25T03:30",
			want: "2026-10-25T01:30 2026-10-25T02:30"},
	} {
		loc := c.loc
		if loc == nil {
			loc = time.UTC
		}
		var all []stored
		for name := range strings.FieldsSeq(c.all) {
			all = append(all, stored{name: name, at: at(t, name, loc).UTC()})
		}
		var got []string
		for _, s := range c.k.expired(all, c.verified, loc) {
			got = append(got, s.name)
		}
		if !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s: %v go, want %v", c.name, got, strings.Fields(c.want))
		}
	}
}

// A year of backups, each followed by the rule: what stays is bounded, and reaches back.
func TestRetentionOverAYear(t *testing.T) {
	k := Defaults().keep()
	var all []stored
	start := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
	for d := range 365 {
		when := start.AddDate(0, 0, d)
		all = append(all, stored{name: when.Format(time.DateOnly), at: when})
		gone := k.expired(all, "", time.UTC)
		all = slices.DeleteFunc(all, func(s stored) bool { return slices.Contains(gone, s) })
		if len(all) > k.daily+k.weekly+k.monthly {
			t.Fatalf("day %d: %d are kept", d, len(all))
		}
	}
	if oldest := all[0].name; oldest != "2026-07-31" {
		t.Errorf("the oldest is of %s: %v", oldest, all)
	}
}

// Backups of a time when the clock was ahead neither push out those of today nor go.
func TestRetentionBesideTheFuture(t *testing.T) {
	r := newRig(t, func(c *Config, _ *Deps) { c.KeepDaily, c.KeepWeekly, c.KeepMonthly = 2, 0, 0 })
	if err := os.MkdirAll(r.backups(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{noon.AddDate(1, 0, 0), noon.AddDate(1, 0, 1), noon.AddDate(0, 0, -1), noon.AddDate(0, 0, -2)} {
		if err := os.WriteFile(filepath.Join(r.backups(), archive.Name("home", at, false)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.due(settling)
	var left []string
	for _, f := range r.get(10).Files {
		left = append(left, f.Time.Format(time.DateOnly))
	}
	if want := []string{"2027-11-24", "2027-11-23", "2026-11-23", "2026-11-22"}; !slices.Equal(left, want) {
		t.Errorf("there are %v, want %v", left, want)
	}
}
