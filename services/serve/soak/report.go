// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report gathers the runs.
type report struct {
	options
	date   time.Time
	commit string
	runs   []*run
}

func newReport(o options) *report {
	return &report{options: o, date: time.Now().UTC(), commit: commit()}
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// name is of a run's files, without what they end in.
func (r *report) name(run *run) string {
	return fmt.Sprintf("%s-%s-memory-%s", r.date.Format("2006-01-02-1504"), r.commit, run.name)
}

// tell does the parts of a run until one goes wrong, and tells of those that there were,
// to out and where it is kept: what one has shown is not lost with a later one.
func (r *report) tell(works []work, do func(work) error, out io.Writer) (err error) {
	for _, w := range works {
		if err = do(w); err != nil {
			err = fmt.Errorf("%s: %w", w.name, err)
			break
		}
	}
	_, unsaid := io.WriteString(out, r.markdown())
	if err = errors.Join(err, unsaid); r.write && !r.try() {
		err = errors.Join(err, r.append("BENCHMARKS.md"))
	}
	return errors.Join(err, r.verdict())
}

// keep writes a run's table and picture, also of one that was cut short, and the daemon's
// log if that is needed to understand what went wrong.
func (r *report) keep(run *run) (err error) {
	path := filepath.Join(r.out, r.name(run))
	if run.sampler == nil { // it ended before there was anything to see
		return keepLog(run, path)
	}
	r.runs = append(r.runs, run)
	if run.broken || run.undisturbed() && run.kept.failed() > 0 || slices.ContainsFunc(run.rows(), func(w row) bool { return w.verdict == missed }) {
		err = keepLog(run, path)
	}
	all := run.sampler.all()
	c := curve{title: r.title(run), samples: all, marks: []mark{{fmt.Sprintf("limit %d MiB", run.limitMB), run.limitMB * mib, "#c0392b"},
		{"warning, for anonymous " + megabytes(run.warnAt()), run.warnAt(), "#e5a823"}}}
	err = errors.Join(err, writeCSV(path+".csv", all), writeSVG(path+".svg", c))
	r.report("%s.svg", path)
	return err
}

// keepLog keeps what the daemon said.
func keepLog(run *run, path string) error {
	log, err := os.ReadFile(run.daemon.log)
	if err != nil {
		return err
	}
	run.report("%s.log", path)
	return os.WriteFile(path+".log", log, 0o600)
}

func (r *report) title(run *run) string {
	return fmt.Sprintf("blufio %s, memory over %s (%s)", r.commit, run.lasted.Round(time.Second), run.name)
}

// where tells what the daemon had.
func (r *report) where(run *run) string {
	cpus := fmt.Sprintf("%d CPUs", runtime.NumCPU())
	if r.oneCPU {
		cpus = "one CPU"
	}
	if run.group == nil {
		return cpus + ", no control group"
	}
	return strings.Join(append([]string{fmt.Sprintf("%s, a control group (v%d) of %d MiB", cpus, run.group.Version(), run.limitMB)}, run.daemon.env...), ", ")
}

// markdown is the report as BENCHMARKS.md has it.
func (r *report) markdown() string {
	var b strings.Builder
	for _, run := range r.runs {
		fmt.Fprintf(&b, "\n## Memory, %s, %s, commit %s\n\n", run.name, r.date.Format("2006-01-02 15:04 UTC"), r.commit)
		fmt.Fprintf(&b, "It lasted %s by the wall clock. %s, %s. An MB is 10^6 bytes.\n\n![memory over time](%s.svg)\n\nReadings: [%s.csv](%s.csv)\n\n", run.lasted.Round(time.Second), r.where(run),
			runtime.Version(), filepath.ToSlash(filepath.Join(r.out, r.name(run))), r.name(run), filepath.ToSlash(filepath.Join(r.out, r.name(run))))
		if run.broken {
			b.WriteString("**It did not end as it should**: what was held was so for as long as it lasted.\n\n")
		}
		b.WriteString("| what | measured | bar | |\n|---|---|---|---|\n")
		for _, w := range run.rows() {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", w.what, w.measured, w.bar, w.verdict)
		}
	}
	return b.String()
}

func (r *report) append(path string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(r.markdown())
	return errors.Join(err, f.Close())
}

// verdict is an error that names what was missed, and in a run of full length what
// could not be judged: it was made to tell.
func (r *report) verdict() error {
	var errs []error
	for _, run := range r.runs {
		for _, w := range run.rows() {
			switch {
			case w.verdict == missed:
				errs = append(errs, fmt.Errorf("%s: %s: %s, not %s", run.name, w.what, w.measured, w.bar))
			case (w.verdict == noProof || w.verdict == noCross) && r.full():
				errs = append(errs, fmt.Errorf("%s: %s: %s: %s", run.name, w.what, w.measured, w.verdict))
			}
		}
		for _, death := range run.daemon.died() {
			errs = append(errs, fmt.Errorf("%s: the daemon ended at %s", run.name, death))
		}
		for _, id := range run.kept.examples {
			errs = append(errs, fmt.Errorf("%s: message %s is lost", run.name, id))
		}
	}
	return errors.Join(errs...)
}
