// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// vectors runs the comparison of the index of vectors with an exact search and with sqlite-vec, on one CPU; it lives beside the
// index, for sqlite-vec is linked into no program of ours.
func (r *run) vectors() error {
	program := filepath.Join(r.tmp, "index.test")
	if out, err := exec.Command("go", "test", "-c", "-o", program, module+"/services/recall/index").CombinedOutput(); err != nil {
		return fmt.Errorf("build the comparison: %w\n%s", err, out)
	}
	args := r.box.wrap(program, "-test.run", "^$", "-test.bench", "^BenchmarkSearch$", "-test.benchtime", "100x", "-test.timeout", "20m")
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("compare searches: %w\n%s", err, out)
	}
	rows := 0
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(line, "BenchmarkSearch/"); ok {
			r.vectorRow(strings.Fields(name))
			rows++
		}
	}
	if rows == 0 {
		return fmt.Errorf("the comparison measured nothing:\n%s", out)
	}
	return nil
}

// vectorRow adds what one line of a benchmark says: its name, how often it ran, and then numbers with their units.
func (r *run) vectorRow(line []string) {
	parts := strings.Split(line[0], "/") // what, how many, searched how
	what := fmt.Sprintf("%s vectors of %s, %s: ", parts[1], parts[0], parts[2])
	seen := map[string]float64{}
	for i := 2; i+1 < len(line); i += 2 {
		if v, err := strconv.ParseFloat(line[i], 64); err == nil {
			seen[line[i+1]] = v
		}
	}
	slow, large, least := 3.0, 16.8, 0.98 // 16 MB are 16 MiB, as in the configuration
	if parts[1] != "10000" {
		slow, large, least = 15, 67.2, 0
	}
	add := func(name, unit, bar string, limit float64, key string) {
		if !strings.HasPrefix(parts[2], "index") {
			bar, limit = "for comparison", 0
		}
		r.report.add(r.box, what+name, unit, bar, limit, []float64{seen[key]}, median)
	}
	add("search, p50", "ms", fmt.Sprintf("≤ %g", slow), slow, "p50-ms")
	add("of it the processor's time, p50", "ms", "for comparison", 0, "p50-cpu-ms")
	add("memory", "MB", fmt.Sprintf("≤ %g", large), large, "MB")
	bar := fmt.Sprintf("≥ %g", least)
	if least == 0 {
		bar = "for comparison"
	}
	add("recall@10", "", bar, -least, "recall@10")
}
