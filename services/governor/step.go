// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
)

// reading is what one look at the process brought, in bytes; 0 is unknown.
type reading struct {
	bus.Memory
	anonymous  int64 // of RSS, backed by no file
	weight     int64 // of Baseline, backed by no file
	resident   int64 // Go's
	live       int64 // of Go's objects, found live by the last collection
	goLimit    int64
	group      int64 // what of the control group's memory the kernel cannot get back
	current    int64 // all of the control group's memory
	groupLimit int64
	stall      stall
	stalls     bool  // the kernel tells it
	stallOurs  bool  // it is our control group's, not the machine's
	err        error // the resident set is not known: Memory is the last that was
	limitErr   error // the control group's limit is not known
}

func (s *Service) last() reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reading
}

// step takes one reading, says what has changed and asks for what it calls for.
func (s *Service) step() {
	s.mu.Lock()
	before, relieved := s.reading, s.relieved
	s.relieved = false
	s.mu.Unlock()
	g := s.deps.Go()
	next := s.read(before, g)
	now := s.deps.Now()
	if next.err == nil && acts {
		s.judge(&next, now, relieved)
		s.steer(&next, g)
	}
	s.evidence(&next, now)
	s.mu.Lock()
	s.reading = next
	s.mu.Unlock()
	if next.err == nil {
		if h, ok := s.hours.take(&next, now); ok {
			s.keep(h)
		}
	}
	s.logTrouble(next)
	if next.Pressure != before.Pressure {
		s.logChange(before.Pressure, next)
	}
	s.say()
	s.tell(now, next.Pressure, next.Pressure != before.Pressure)
	if acts {
		s.ask(now, next.Pressure, s.back.due(g.Allocated))
		s.pace(s.back.resting())
	}
}

// evidence keeps the level for as long as one holds that is not said again. Without a
// reading for longer it is normal: nobody is turned away because of what is not known.
func (s *Service) evidence(r *reading, now time.Time) {
	if r.err == nil {
		s.readAt = now
	} else if r.Pressure != bus.PressureNormal && now.Sub(s.readAt) >= bus.LevelHolds {
		r.Pressure, s.levels = bus.PressureNormal, s.cfg.levels()
	}
}

// read looks at the process and at its control group.
func (s *Service) read(r reading, g Go) reading {
	if s.ticks == 0 {
		r.limitErr = s.sensors.aim()
		r.groupLimit = s.sensors.group.limit
		r.Limit = lower(s.cfg.limit(), r.groupLimit)
	}
	s.ticks = (s.ticks + 1) % limitsEvery
	r.Heap, r.resident, r.live = g.Objects, g.Resident, g.Live
	r.Baseline, r.weight = s.deps.Baseline()
	rss, anonymous, err := s.sensors.process()
	if r.err = err; err != nil {
		return r
	}
	r.RSS, r.anonymous = rss, anonymous
	r.group, r.current = s.sensors.ofGroup()
	r.stall, r.stallOurs, r.stalls = s.sensors.stalled()
	_, percent, _ := r.nearer(s.cfg)
	r.Used = int64(percent) // rounded down, so that it reaches a threshold when the level does
	return r
}

// bounds are the two things that may run out: what the owner allows the process, and
// what the kernel allows its control group, of which it counts what it cannot get
// back. Where it does not say how much that is, the process stands for it. A model's
// file is part of the resident set, and none of what the kernel cannot get back.
func (r *reading) bounds(cfg Config) (own, group bound) {
	own = bound{r.RSS, cfg.limit(), r.Baseline}
	if group = (bound{r.group, r.groupLimit, r.weight}); r.group == 0 {
		group.used, group.fixed = r.RSS, r.Baseline
	}
	return own, group
}

// bound is how much is used of how much, in bytes, and what of the used is fixed
// weight; of 0: there is no bound.
type bound struct{ used, of, fixed int64 }

// nearer is the bound that counts, how much of it is used in percent, the fixed weight
// left out, and whether it is the control group's.
func (r *reading) nearer(cfg Config) (b bound, percent float64, ofGroup bool) {
	own, group := r.bounds(cfg)
	percent = share(own.used, own.of, own.fixed)
	if group.of > 0 {
		if p := share(group.used, group.of, group.fixed); p >= percent {
			return group, p, true
		}
	}
	return own, percent, false
}

// taken tells what of the bound that counts is used.
func (r *reading) taken(cfg Config) string {
	b, _, ofGroup := r.nearer(cfg)
	text := fmt.Sprintf("%d of %d MiB", b.used>>20, b.of>>20)
	if ofGroup {
		text += " of the control group"
	}
	text += " are taken"
	if b.fixed > 0 {
		text += fmt.Sprintf(", %d %% without the model", r.Used)
	}
	return text
}

// judge finds the level.
func (s *Service) judge(r *reading, now time.Time, relieved bool) {
	_, percent, _ := r.nearer(s.cfg)
	stalled := 0.0
	if r.stallOurs { // that the machine waits for memory may be somebody else's doing
		stalled = r.stall.full
	}
	t := s.thresholds.Load()
	s.levels.warn, s.levels.critical = float64(t.WarnPercent), float64(t.CriticalPercent)
	if relieved {
		s.levels.shed(percent)
	}
	r.Pressure = s.levels.next(now, percent, stalled)
}

// steer sets Go's memory limit to what is left for it below the warning, so that the
// collector works harder before anybody has to be refused.
func (s *Service) steer(r *reading, g Go) {
	own, group := r.bounds(s.cfg)
	room := s.room(own, g)
	if group.of > 0 {
		room = min(room, s.room(group, g))
	}
	want := min(goLimit(room, g), s.goMost)
	if d := want - s.goSet; d >= limitStep || d <= -limitStep {
		s.deps.GoLimit(want)
		s.goSet = want
	}
	r.goLimit = s.goSet
}

// room is how much of a bound is Go's: what others do not use of it, up to where
// the warning is left, above the fixed weight.
func (s *Service) room(b bound, g Go) int64 {
	percent := int64(s.thresholds.Load().WarnPercent - hysteresis)
	free := max(0, b.of-b.fixed)
	return b.fixed + free/100*percent + free%100*percent/100 - max(0, b.used-g.Resident)
}

// repeat is how often the level is said while it is not normal.
const repeat = bus.LevelHolds / 3

// tell says the level to those who act on it.
func (s *Service) tell(now time.Time, level string, changed bool) {
	if !changed && !s.toldAt.IsZero() && (level == bus.PressureNormal || now.Sub(s.toldAt) < repeat) {
		return
	}
	c := s.bus()
	if c == nil {
		return // there is nobody yet
	}
	s.toldAt = now
	if err := bus.MemoryLevel.Publish(c, bus.Level{Time: now, Pressure: level}); err != nil {
		s.deps.Logger.Warn("tell memory pressure", "service", "governor", "err", err)
	}
}

// ask asks for relief: under pressure now and then, else in a pause.
func (s *Service) ask(now time.Time, level string, pause bool) {
	switch {
	case level != bus.PressureNormal:
		s.back.short()
		if s.shedAt.IsZero() || now.Sub(s.shedAt) >= shedEvery {
			s.shedAt = now
			s.want(level)
		}
	case pause && s.want(bus.PressureNormal):
		s.back.done()
	}
}
