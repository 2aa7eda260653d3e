// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/services/governor"
	"github.com/blufio/blufio/services/serve/internal/box"
)

const (
	millionSessions = 5000
	millionWorkers  = 96 // below gateway.max_waiters
	drainLimit      = 5 * time.Minute
)

// run is one daemon and what happens to it.
type run struct {
	options
	work
	dir     string
	group   *box.Group
	outside *outside
	daemon  *daemon
	book    *book
	speaker *speaker
	sampler *sampler

	lasted    time.Duration
	recovered []time.Duration // after each hostile phase; unknown: not in time
	oomKills  int
	kept      kept
	broken    bool // it did not end as it should: what is below a bar was so only as long as it lasted
}

// newRun makes everything but starts nothing.
func newRun(ctx context.Context, o options, w work, dir string) (r *run, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return nil, err
	}
	r = &run{options: o, work: w, dir: dir}
	o.report("%s: build", w.name)
	if err := build(ctx, filepath.Join(dir, "blufio"), w.tags); err != nil {
		return nil, err
	}
	memory := ""
	if w.warn > 0 {
		memory = fmt.Sprintf("warn_percent = %d\n", w.warn)
	}
	group, why := box.NewGroup("soak", r.limitMB*mib)
	if why != nil {
		memory += r.ungrouped()
		o.report("no memory control group can be made, so no limit is enforced; the daemon is told %d MiB instead:\n%v", r.limitMB, why)
	}
	r.group = group
	defer func() {
		if err != nil {
			err = errors.Join(err, group.Remove()) // not r's: with an error that is nil
		}
	}()
	r.daemon = &daemon{binary: filepath.Join(dir, "blufio"), dir: filepath.Join(dir, "data"), config: filepath.Join(dir, "blufio.toml"),
		log: filepath.Join(dir, "daemon.log"), group: r.group, pinned: o.oneCPU}
	if w.goPart > 0 {
		r.daemon.env = []string{r.goLimit()}
	}
	if r.book, err = newBook(filepath.Join(dir, "accepted")); err != nil {
		return nil, err
	}
	if r.outside, err = newOutside(); err != nil {
		return nil, err
	}
	return r, r.outside.config(r.daemon.config, o, memory)
}

// ungrouped is the limit that the daemon is told where no control group has one. With less
// than is installed it would not start: what has a bound would not fit into it.
func (r *run) ungrouped() string {
	if least := int64(governor.Defaults().LimitMB); r.limitMB < least {
		r.limitMB, r.acts = least, false // the crowd need not come near it
	}
	return fmt.Sprintf("limit_mb = %d\n", r.limitMB)
}

// goLimit is what Go's runtime is told beside the bounds, where it is.
func (r *run) goLimit() string { return fmt.Sprintf("GOMEMLIMIT=%dMiB", r.limitMB*r.goPart/100) }

// drive runs the daemon through its phases, stops it, and looks at what it kept. That is
// looked at whatever went wrong, for then it tells most.
func (r *run) drive(ctx context.Context) (err error) {
	defer r.outside.close()
	defer func() {
		var kills error
		r.oomKills, kills = r.group.OOMKills()
		if err = errors.Join(err, kills, r.group.Remove()); r.sampler == nil && r.oomKills > 0 { // there is no table to say so
			err = errors.Join(err, fmt.Errorf("killed for memory, at %d MiB: %d", r.limitMB, r.oomKills))
		}
		r.broken = err != nil
	}()
	if err := r.daemon.start(); err != nil {
		return err
	}
	began := time.Now()
	alive, done := r.daemon.lasting(ctx)
	err = r.live(alive)
	r.lasted = time.Since(began)
	done()
	err = errors.Join(err, r.daemon.stop(), r.book.close())
	if ctx.Err() != nil {
		return err // who asked for an end does not wait for the books
	}
	var unread error
	r.kept, unread = r.book.compare(ctx, filepath.Join(r.daemon.dir, "blufio.db"))
	return errors.Join(err, unread)
}

// live goes through the phases, sampling all the time, until ctx ends: with the daemon,
// at the latest.
func (r *run) live(ctx context.Context) error {
	token, err := r.daemon.token(ctx)
	if err != nil {
		return err
	}
	r.speaker = newSpeaker(r.daemon, token, r.book)
	every := time.Second
	if r.turns > 0 {
		every /= 5 // of 10 000 turns there must be some
	}
	r.sampler = newSampler(r.daemon, r.book, every)
	sampling, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.sampler.run(sampling)
	}()
	defer func() {
		stop()
		<-done
	}()
	for _, p := range r.phases {
		r.report("%s: %s, %s", r.name, p.name, p.last.Round(time.Second))
		r.sampler.enter(p.name)
		if r.phase(ctx, p); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	r.sampler.enter(drain)
	return r.drain(ctx)
}

// phase lives through one.
func (r *run) phase(ctx context.Context, p phase) {
	r.outside.slow(0)
	during, stop := context.WithTimeout(ctx, p.last)
	defer stop()
	switch p.name {
	case steady:
		r.outside.slow(modelTime)
		r.speaker.steady(during)
	case burst:
		r.speaker.burst(during)
	case swing:
		r.speaker.swing(during)
	case hostile:
		r.outside.sick.Store(true)
		r.speaker.hostile(during)
		r.outside.sick.Store(false)
	case calm:
		r.recover(ctx, p.last)
	case million:
		r.speaker.hurry(ctx, millionWorkers, r.turns, "30s", func(n int64) (string, string) {
			return fmt.Sprintf("m-%d", n%millionSessions), fmt.Sprintf("hello, this is message %d", n)
		})
	default:
		sleep(during, p.last)
	}
}

// warnAt is the memory at which the governor warns, in bytes: of the control group or
// of what the daemon was told.
func (r *run) warnAt() int64 {
	percent := int64(cmp.Or(r.warn, governor.Defaults().WarnPercent))
	limit := r.limitMB
	if r.group != nil {
		limit = min(limit, int64(governor.Defaults().LimitMB)) // it is told no other
	}
	return limit * mib / 100 * percent
}

// normal reports that a daemon is as before: no pressure, nothing waiting, and all that
// is resident below what would warn. That is more than what the level looks at, which
// leaves out the program's own pages.
func normal(s sample, warnAt int64) bool { return s.pressure == 0 && s.inbox == 0 && s.rss < warnAt }

// recover waits until the daemon is normal again and someone new gets an answer, and
// at least for as long as the phase lasts.
func (r *run) recover(ctx context.Context, last time.Duration) {
	began, after := time.Now(), time.Duration(unknown)
	for n := 0; after == unknown && time.Since(began) < max(last, calmFor) && ctx.Err() == nil; n++ {
		if s, ok := r.sampler.last(); ok && normal(s, r.warnAt()) {
			if a, err := r.speaker.say(ctx, fmt.Sprintf("newcomer-%d-%d", len(r.recovered), n), "are you well?", "10s"); err == nil && a.State == "answered" {
				after = time.Since(began)
			}
		}
		sleep(ctx, 250*time.Millisecond)
	}
	r.recovered = append(r.recovered, after)
	sleep(ctx, last-time.Since(began))
}

// drain waits until nothing is on its way.
func (r *run) drain(ctx context.Context) error {
	sleep(ctx, 1100*time.Millisecond) // then a reading is of this phase
	quiet := 0
	for deadline := time.Now().Add(drainLimit); time.Now().Before(deadline); {
		if s, ok := r.sampler.last(); ok && s.inbox == 0 {
			quiet++
		} else {
			quiet = 0
		}
		if quiet == 3 { // readings: one may be older than the last message
			return nil
		}
		if !sleep(ctx, 1100*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	r.report("%s: messages are still waiting after %s", r.name, drainLimit)
	return nil // the books will say so
}

// rows judge the run.
func (r *run) rows() []row {
	all := r.sampler.all()
	var rows []row
	if r.tags == "" { // what only watches gives nothing back
		rows = append(rows, idleRows(all, r.shownOnly)...)
		rows = append(rows, steadyRows(all)...)
		rows = append(rows, swingRows(all)...)
	}
	for _, p := range []string{steady, million} {
		if len(during(all, p)) > 0 {
			rows = append(rows, slopeRow(all, p))
		}
	}
	rows = append(append(rows, r.hostileRows(all)...), r.keptRows(all)...)
	for i := range rows {
		if rows[i].verdict == noProof && r.try() {
			rows[i].verdict = aTry
		}
		if r.goPart > 0 && rows[i].verdict != shown {
			rows[i].bar += ", with " + r.goLimit()
		}
	}
	return rows
}

// hostileRows judge how the hostile phases ended.
func (r *run) hostileRows(all []sample) (rows []row) {
	if part := during(all, hostile); len(part) > 0 {
		rows = append(rows, row{"hostile: RSS, most", megabytes(most(part)), "for comparison", shown},
			row{"hostile: anonymous memory, most", megabytes(mostAnonymous(part)), "for comparison", shown})
		if r.tags == "" {
			rows = append(rows, levelRow(part, r.acts))
		}
	}
	for n, d := range r.recovered {
		what := fmt.Sprintf("normal again (level, inbox, a newcomer's answer, RSS below %s) after the hostile phase", megabytes(r.warnAt()))
		if len(r.recovered) > 1 {
			what += fmt.Sprintf(" of round %d", n+1)
		}
		measured := d.Round(100 * time.Millisecond).String()
		if d == unknown {
			measured = "not in " + calmFor.String()
		}
		rows = append(rows, row{what, measured, "≤ " + settle.String(), judged(d != unknown && d <= settle)})
	}
	return rows
}

// keptRows judge whether it lived, and kept what it had accepted.
func (r *run) keptRows(all []sample) []row {
	deaths := r.daemon.died()
	rows := []row{{"ended unasked", fmt.Sprint(len(deaths)), "0", judged(len(deaths) == 0)}}
	if r.group != nil {
		rows = append(rows, row{fmt.Sprintf("killed for memory, at %d MiB", r.limitMB), fmt.Sprint(r.oomKills), "0", judged(r.oomKills == 0)})
	}
	states := []string{}
	for _, s := range ends {
		states = append(states, fmt.Sprintf("%d %s", r.kept.states[s], s))
	}
	accepted := r.book.accepted.Load()
	rows = append(rows, row{"messages accepted (completions: when answered), and what became of them", fmt.Sprintf("%d: %s", accepted, strings.Join(states, ", ")), "for comparison", shown})
	if r.undisturbed() && r.kept.found() == accepted {
		rows = append(rows, row{"turns that failed, with nothing to disturb them", fmt.Sprintf("%d of %d", r.kept.failed(), accepted), fmt.Sprintf("≤ %g %%", 100.0/failedOf), judged(r.kept.failed()*failedOf <= accepted)})
	}
	lost := fmt.Sprintf("%d; %d", r.kept.lost, r.kept.open())
	if n := accepted - r.kept.found(); n != 0 {
		lost += fmt.Sprintf("; %d not looked up", n)
	}
	rows = append(rows,
		row{"refused with a reason; without an answer", fmt.Sprintf("%d; %d", r.book.refused.Load(), r.book.broken.Load()), "for comparison", shown},
		row{"accepted and lost; accepted and without an end", lost, "0; 0", judged(r.kept.lost == 0 && r.kept.open() == 0 && r.kept.found() == accepted)})
	if n := len(all); n > 0 && all[n-1].refused > 0 {
		rows = append(rows, row{"new sessions refused for memory", fmt.Sprint(all[n-1].refused), "for comparison", shown})
	}
	return rows
}

// undisturbed reports that the model was well all the time and nobody attacked, so that
// each turn should have had its answer.
func (r *run) undisturbed() bool {
	return !slices.ContainsFunc(r.phases, func(p phase) bool { return p.name == hostile })
}
