// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// drawing is what there is in a picture.
type drawing struct {
	Texts     []string `xml:"text"`
	Polylines []struct {
		Points string `xml:"points,attr"`
	} `xml:"polyline"`
	Rects []struct {
		X     float64 `xml:"x,attr"`
		Width string  `xml:"width,attr"`
		Title string  `xml:"title"`
	} `xml:"rect"`
}

func drawn(t *testing.T, c curve) drawing {
	t.Helper()
	path := filepath.Join(t.TempDir(), "curve.svg")
	if err := writeSVG(path, c); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var d drawing
	if err := xml.Unmarshal(data, &d); err != nil {
		t.Fatalf("no XML: %v\n%s", err, data)
	}
	return d
}

func TestCurve(t *testing.T) {
	all := stretch(stretch(stretch(nil, idle, 60, flat(30), 0), steady, 600, flat(60), 50), hostile, 60, flat(120), 50)
	for i := range all {
		if all[i].heap = unknown; all[i].phase == hostile {
			all[i].pressure = 1
		}
	}
	d := drawn(t, curve{title: `memory & "more" <over> time`, samples: all, marks: []mark{{"limit 128 MiB", 128 * mib, "#c00"}}})
	for _, want := range []string{`memory & "more" <over> time`, idle, steady, hostile, "limit 128 MiB", "minutes", "MB", "warn"} {
		if !slices.Contains(d.Texts, want) {
			t.Errorf("there is no text %q: %q", want, d.Texts)
		}
	}
	if got := strings.Fields(d.Polylines[2].Points); len(got) != 0 {
		t.Errorf("what is unknown is drawn at %v", got)
	}
	points := strings.Fields(d.Polylines[0].Points)
	if len(points) < 600 {
		t.Errorf("the resident set has %d points", len(points))
	}
	before := 0.0
	for _, p := range points {
		var x, y float64
		if _, err := fmt.Sscanf(p, "%f,%f", &x, &y); err != nil {
			t.Fatal(err)
		}
		if x < before || x < left-1 || x > width-right || y < top || y > height-bottom {
			t.Errorf("a point at %s", p)
		}
		before = x
	}
	if warn := slices.IndexFunc(d.Rects, func(r struct {
		X     float64 `xml:"x,attr"`
		Width string  `xml:"width,attr"`
		Title string  `xml:"title"`
	}) bool {
		return r.Title == "warn"
	}); warn < 0 {
		t.Error("the level is not drawn")
	}
}

// A picture of very many samples keeps their peak, and one of none is one.
func TestCurveOfManyAndNone(t *testing.T) {
	all := stretch(nil, steady, 200_000, flat(50), 50)
	all[77_777].rss = 150 * mb
	d := drawn(t, curve{title: "long", samples: all})
	least := float64(height)
	points := strings.Fields(d.Polylines[0].Points)
	for _, p := range points {
		_, y, _ := strings.Cut(p, ",")
		if n, err := strconv.ParseFloat(y, 64); err == nil {
			least = min(least, n)
		}
	}
	if len(points) > 2*plotWidth+4 || least > top+40 {
		t.Errorf("%d points, the highest at %g", len(points), least)
	}
	drawn(t, curve{title: "none"})
}

func TestTicks(t *testing.T) {
	for _, tc := range []struct {
		most float64
		n    int
		want []float64
	}{
		{138, 6, []float64{0, 50, 100}},
		{60, 12, []float64{0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60}},
		{72, 12, []float64{0, 10, 20, 30, 40, 50, 60, 70}},
		{1, 6, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
	} {
		got := ticks(tc.most, tc.n)
		if !slices.EqualFunc(got, tc.want, func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }) {
			t.Errorf("%g: %v, want %v", tc.most, got, tc.want)
		}
	}
}

func TestReadMetrics(t *testing.T) {
	got := readMetrics(strings.NewReader(`# HELP blufio_memory_heap_bytes Bytes.
# TYPE blufio_memory_heap_bytes gauge
blufio_memory_heap_bytes 1.2345678e+07
blufio_memory_pressure 2
blufio_inbox_messages_limit 20000
blufio_inbox_messages what
blufio_errors_total{service="agent"} 3
`))
	if got[heapMetric] != 12345678 || got[pressureMetric] != 2 || got[inboxMetric] != unknown || got[residentMetric] != unknown || len(got) != 5 {
		t.Errorf("%v", got)
	}
}

func TestMemoryOf(t *testing.T) {
	rss, anonymous, err := memoryOf(os.Getpid())
	if err != nil || rss < mb || anonymous <= 0 || anonymous > rss {
		t.Errorf("%d, %d, %v", rss, anonymous, err)
	}
	if _, _, err := memoryOf(1 << 30); err == nil {
		t.Error("a process that is not there has memory")
	}
}

// readCSV returns the rows of a file without its head.
func readCSV(t *testing.T, path string) (rows [][]string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 || !slices.Equal(rows[0], columns) {
		t.Fatalf("%s begins with %v", path, rows)
	}
	return rows[1:]
}

func TestWriteCSV(t *testing.T) {
	path := filepath.Join(t.TempDir(), "samples.csv")
	all := []sample{{at: 1500 * time.Millisecond, phase: idle, turns: 7, rss: 30 * mb, anonymous: 9 * mb, heap: unknown, resident: unknown, pressure: unknown, inbox: unknown, refused: unknown},
		{at: 2 * time.Second, phase: steady, pressure: 2, refused: 5}}
	if err := writeCSV(path, all); err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"1.50", idle, "7", "30000000", "9000000", "", "", "", "", ""}, {"2.00", steady, "0", "0", "0", "0", "0", "2", "0", "5"}}
	if got := readCSV(t, path); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%v, want %v", got, want)
	}
}
