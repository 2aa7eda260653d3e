// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// logTrouble logs what cannot be read once, not every second.
func (s *Service) logTrouble(r reading) {
	warning := ""
	if r.err != nil || r.limitErr != nil {
		warning = errors.Join(r.err, r.limitErr).Error()
	}
	if warning != s.warning && warning != "" {
		s.deps.Logger.Warn("memory not readable", "service", "governor", "err", warning)
	}
	s.warning = warning
}

func (s *Service) logChange(from string, r reading) {
	log := s.deps.Logger.Warn
	if r.Pressure == bus.PressureNormal {
		log = s.deps.Logger.Info
	}
	log("memory pressure changed", "service", "governor", "from", from, "to", r.Pressure, "rss_bytes", r.RSS,
		"limit_bytes", r.Limit, "used_percent", r.Used, "heap_bytes", r.Heap, "group_bytes", r.group, "stall_percent", r.stall.full)
}

// takeUpTime is how long the readings wait for that.
const takeUpTime = 2 * time.Second

// takeUp finds out, once, what listeners were told by the process before this one. Had it
// been ended under pressure, nobody else would ever tell them that the pressure is over.
func (s *Service) takeUp(ctx context.Context) {
	s.takenUp.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, takeUpTime)
		defer cancel()
		level := bus.PressureNormal
		err := s.deps.Store.QueryRow(ctx, `SELECT level FROM memory_said`).Scan(&level)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			s.deps.Logger.Warn("level that was said last is not known, it is said again", "service", "governor", "err", err)
			level = ""
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.said = level
	})
}

// say records the level that listeners do not know yet, once there is a reading to tell
// of. It does not wait for the disk, which would hold up the readings; what could not be
// written is said with a later reading.
func (s *Service) say() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saying || s.readAt.IsZero() || s.reading.Pressure == s.said {
		return
	}
	fact := bus.MemoryFact{Time: s.deps.Now(), From: cmp.Or(s.said, bus.PressureNormal), Memory: s.reading.Memory}
	err := s.deps.Store.WriteLazy(func(tx *sqlite.Tx) error {
		if _, err := tx.Exec(`INSERT OR REPLACE INTO memory_said (id, level) VALUES (1, ?)`, fact.Pressure); err != nil {
			return fmt.Errorf("note level: %w", err)
		}
		return eventlog.Record(s.deps.Events, tx, bus.MemoryPressure, fact)
	}, func(err error) { s.recorded(fact.Pressure, err) })
	if s.saying = err == nil; err != nil {
		s.logUnsaid(err)
	}
}

// recorded hears, on the database's goroutine, what became of an event.
func (s *Service) recorded(level string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saying = false
	if err != nil {
		s.logUnsaid(err)
		return
	}
	s.said, s.unsaid = level, false
}

// logUnsaid logs the first of a row of failures to write an event.
func (s *Service) logUnsaid(err error) {
	if !s.unsaid {
		s.deps.Logger.Warn("memory pressure event not written; trying with each reading", "service", "governor", "err", err)
	}
	s.unsaid = true
}

// answer answers gov.read.
func (s *Service) answer(context.Context, bus.MemoryQuery) (bus.Memory, error) {
	r := s.last()
	if r.err != nil {
		return bus.Memory{}, bus.Errorf(bus.CodeUnavailable, "the memory of the process is not known: %v", r.err)
	}
	return r.Memory, nil
}

// health tells of memory about to run out, and of what cannot be read.
func (s *Service) health() []bus.Problem {
	r := s.last()
	var problems []bus.Problem
	if r.err != nil {
		problems = append(problems, bus.Problem{Code: "memory_unreadable",
			Title: fmt.Sprintf("the memory of the process is not known: %v", r.err),
			Hint:  "mount /proc where blufio runs"})
	}
	if r.limitErr != nil {
		problems = append(problems, bus.Problem{Code: "memory_limit_unreadable",
			Title: fmt.Sprintf("the control group's memory limit is not known: %v", r.limitErr),
			Hint:  "memory.limit_mb holds meanwhile; make /sys/fs/cgroup readable"})
	}
	if r.err == nil && r.Pressure == bus.PressureCritical {
		problems = append(problems, bus.Problem{Code: "memory_critical",
			Title: "memory is about to run out: " + r.taken(s.cfg),
			Hint:  "no new session is begun meanwhile; raise memory.limit_mb or the control group's limit, or give blufio less to do"})
	}
	return problems
}
