// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	governMost = 0.1 // percent of a processor
	// pauseLong is after how long of nothing the governor does what it does from then on:
	// it has given memory back twice before.
	pauseLong   = 3 * time.Minute
	looked      = 4 * time.Minute  // at the daemons
	readings    = 60               // a second apart, of the room's own measurement
	scrapeEvery = 15 * time.Second // as a Prometheus does: what answers it becomes resident
)

// nought is the bar of what must be 0: as a bar, 0 is none.
const nought = math.SmallestNonzeroFloat64

// governing is what the governor takes of a processor while nothing else goes on: its
// reading, once a second, and what it does in a long pause. A reading is measured in a
// process with nothing else in it, beyond the same one asleep. What it does brings page faults to all of the daemon,
// so a daemon is held against one whose governor reads and does nothing, side by side;
// both are scraped.
func (r *run) governing() error {
	alone, err := r.readingAlone()
	if err != nil {
		return err
	}
	ours, other, err := r.acting()
	if err != nil {
		return err
	}
	reads, sleeps := alone["reading"]["cpu-ms/s"], alone["asleep"]["cpu-ms/s"]
	acts := ours.cpu - other.cpu
	add := func(what, unit, bar string, limit, value float64) {
		r.report.add(r.box, "governor: "+what, unit, bar, limit, []float64{value}, median)
	}
	note := func(what, unit string, value float64) { add(what, unit, "for comparison", 0, value) }
	percent := func(perSecond float64) float64 { return perSecond / 10 } // of milliseconds
	add("readings and what it does in a long pause, of a processor", "%", "≤ 0.1", governMost, percent(max(0, reads-sleeps)+max(0, acts)))
	note("of that, readings, in a process with nothing else in it", "%", percent(reads-sleeps))
	note("that process without them, asleep", "%", percent(sleeps))
	note("of that, an idle daemon beyond one whose governor only reads", "%", percent(acts))
	note("that other daemon, all of it", "%", percent(other.cpu))
	note("page faults of the daemon beyond the other's", "1/s", ours.faults-other.faults)
	add("allocations of a reading", "", "0", nought, alone["reading"]["allocs"])
	return nil
}

// readingAlone runs the room's own measurement, which reads the real /proc, and the same
// process asleep.
func (r *run) readingAlone() (map[string]map[string]float64, error) {
	program := filepath.Join(r.tmp, "governor.test")
	if out, err := exec.Command("go", "test", "-c", "-o", program, module+"/services/governor").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the reading: %w\n%s", err, out)
	}
	args := r.box.wrap(program, "-test.run", "^$", "-test.bench", "^BenchmarkGoverning$", "-test.benchtime", fmt.Sprintf("%dx", readings))
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("measure readings: %w\n%s", err, out)
	}
	return governed(string(out))
}

// governed reads what the benchmark says: by its part, numbers with their units.
func governed(out string) (map[string]map[string]float64, error) {
	seen := map[string]map[string]float64{"asleep": {}, "reading": {}}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		name, _ := strings.CutPrefix(fields[0], "BenchmarkGoverning/")
		name, _, _ = strings.Cut(name, "-") // behind it are the processors
		for i := 2; i+1 < len(fields) && seen[name] != nil; i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				seen[name][fields[i+1]] = v
			}
		}
	}
	for name, units := range seen {
		for _, unit := range []string{"cpu-ms/s", "allocs"} {
			if _, ok := units[unit]; !ok {
				return nil, fmt.Errorf("%s of %s were not measured:\n%s", unit, name, out)
			}
		}
	}
	return seen, nil
}

// effort is what a process took, since its start or within a second.
type effort struct {
	cpu    float64 // ms
	faults float64
}

// acting is what an idle daemon takes, and one whose governor only reads.
func (r *run) acting() (ours, other effort, err error) {
	watching := filepath.Join(r.tmp, "watching")
	if err := buildAs(watching, module, "ungoverned"); err != nil {
		return ours, other, err
	}
	only := *r
	only.binary = watching
	var daemons [2]*daemon
	for i, of := range []*run{r, &only} {
		d, failed := of.startFresh("governor", r.config)
		if failed != nil {
			return ours, other, failed
		}
		defer func() { err = errors.Join(err, d.stop()) }()
		daemons[i] = d
	}
	time.Sleep(pauseLong)
	before, err := efforts(daemons)
	if err != nil {
		return ours, other, err
	}
	for range looked / scrapeEvery {
		for _, d := range daemons {
			if _, err := d.metric("blufio_memory_rss_bytes", ""); err != nil {
				return ours, other, err
			}
		}
		time.Sleep(scrapeEvery)
	}
	after, err := efforts(daemons)
	if err != nil {
		return ours, other, err
	}
	return after[0].since(before[0]), after[1].since(before[1]), nil
}

// since is what was taken between two looks.
func (e effort) since(before effort) effort {
	return effort{(e.cpu - before.cpu) / looked.Seconds(), (e.faults - before.faults) / looked.Seconds()}
}

func efforts(daemons [2]*daemon) (out [2]effort, err error) {
	for i, d := range daemons {
		if out[i], err = effortOf(d.info.PID); err != nil {
			return out, err
		}
	}
	return out, nil
}

// effortOf is what a process has taken since its start. The scheduler's own account is
// exact, where stat counts hundredths of a second; the runtime ends no threads.
func effortOf(pid int) (e effort, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return e, fmt.Errorf("the kernel keeps no account of process %d: %w", pid, errors.Join(err, os.ErrNotExist))
	}
	for _, path := range threads {
		data, err := os.ReadFile(path)
		if err != nil {
			return e, err
		}
		var ns int64
		if _, err := fmt.Sscan(string(data), &ns); err != nil {
			return e, fmt.Errorf("read %s: %w", path, err)
		}
		e.cpu += ms(time.Duration(ns))
	}
	f, err := stat(pid)
	if err != nil {
		return e, err
	}
	e.faults, err = strconv.ParseFloat(f[7], 64) // minflt (proc_pid_stat(5))
	return e, err
}
