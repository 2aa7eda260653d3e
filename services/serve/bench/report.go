// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is one measurement against its bar.
type row struct {
	box     string
	what    string
	unit    string
	bar     string
	limit   float64 // most; negative: least; 0: no bar
	value   float64
	samples []float64
}

func (r row) verdict() string {
	switch {
	case r.limit == 0:
		return ""
	case r.limit < 0 && r.value >= -r.limit, r.limit > 0 && r.value <= r.limit:
		return "held"
	}
	return "**missed**"
}

// report gathers the rows of one run of this program.
type report struct {
	date    time.Time
	commit  string
	machine string
	rows    []row
}

func newReport() *report {
	return &report{date: time.Now().UTC(), commit: commit(), machine: machine()}
}

func (r *report) add(b place, what, unit, bar string, limit float64, samples []float64, sum func([]float64) float64) {
	r.rows = append(r.rows, row{box: b.name, what: what, unit: unit, bar: bar, limit: limit, value: sum(samples), samples: samples})
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// machine tells what the numbers were measured on.
func machine() string {
	model := runtime.GOARCH
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d CPUs, %s, %s", model, runtime.NumCPU(), runtime.GOOS, runtime.Version())
}

func (r *report) name() string { return r.date.Format("2006-01-02-1504") + "-" + r.commit }

// table is the report in Markdown.
func (r *report) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s, commit %s\n\n%s. Samples: [contrib/benchmarks/%s.csv](contrib/benchmarks/%s.csv)\n\n",
		r.date.Format("2006-01-02 15:04 UTC"), r.commit, r.machine, r.name(), r.name())
	b.WriteString("| where | what | measured | bar | |\n|---|---|---|---|---|\n")
	for _, w := range r.rows {
		fmt.Fprintf(&b, "| %s | %s | %.4g %s | %s | %s |\n", w.box, w.what, w.value, w.unit, w.bar, w.verdict())
	}
	return b.String()
}

// save appends the table to BENCHMARKS.md and writes the samples.
func (r *report) save(root string) (err error) {
	dir := filepath.Join(root, "contrib", "benchmarks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, r.name()+".csv"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := csv.NewWriter(f)
	if err := w.Write([]string{"where", "what", "unit", "sample"}); err != nil {
		return err
	}
	for _, m := range r.rows {
		for _, s := range m.samples {
			if err := w.Write([]string{m.box, m.what, m.unit, strconv.FormatFloat(s, 'g', 6, 64)}); err != nil {
				return err
			}
		}
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(root, "BENCHMARKS.md"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = out.WriteString(r.table())
	return errors.Join(err, out.Close())
}

func median(v []float64) float64 { return quantile(v, 0.5) }
func p99(v []float64) float64    { return quantile(v, 0.99) }
func most(v []float64) float64   { return quantile(v, 1) }

func quantile(v []float64, q float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[min(int(q*float64(len(s))), len(s)-1)]
}
