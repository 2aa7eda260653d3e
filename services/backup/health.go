// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
)

// Codes of the room's problems.
const (
	problemFailed    = "backup_failed"
	problemOverdue   = "backup_overdue"
	problemUnsent    = "backup_after"
	problemUndrilled = "backup_drill"
)

// overdueBy is how long the schedule may be late before that is a problem: a daemon that
// was off makes up for it in the first minutes.
const overdueBy = time.Hour

// unsent reports whether the command for the last backup failed; s.mu is held.
func (s *Service) unsent() bool {
	h := s.history
	return h.unsent != nil && h.scheduled != nil && h.unsent.Path == h.scheduled.Path
}

// notDrilled says why the daemon restores no backup on trial; "" when it does.
func (c Config) notDrilled() string {
	switch {
	case c.Every <= 0 || c.DrillEvery <= 0:
		return bus.NotDrilledOff
	case len(c.Recipients) > 0:
		return bus.NotDrilledEncrypted
	}
	return ""
}

// undrilled reports whether the last drill failed, and another is to come; s.mu is held.
func (s *Service) undrilled() bool {
	h := s.history
	return s.cfg.notDrilled() == "" && h.undrilled != nil && (h.drilled == nil || h.drilled.Time.Before(h.undrilled.Time))
}

// health tells what is wrong with the backups.
func (s *Service) health() (all []bus.Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.d.Now()
	due, scheduled := s.course.due(now, s.cfg.Every)
	if scheduled && s.course.failures > 0 && s.history.missed != nil {
		m := s.history.missed
		all = append(all, bus.Problem{Code: problemFailed, Title: fmt.Sprintf("the backup failed (%s): %s", m.Stage, m.Error),
			Hint: fmt.Sprintf("mend that; it is tried again at %s, and `blufio backup` makes one now", due.In(s.d.Loc).Format(time.DateTime))})
	} else if scheduled && s.running == nil && now.Sub(due) > overdueBy {
		all = append(all, bus.Problem{Code: problemOverdue, Title: "the backup is overdue since " + due.In(s.d.Loc).Format(time.DateTime),
			Hint: "`blufio backup` makes one now; the daemon's log says what held it up"})
	}
	if s.unsent() {
		all = append(all, bus.Problem{Code: problemUnsent, Title: "the last backup was not sent away: " + s.history.unsent.Error,
			Hint: "see to the command in backup.after; the backup itself lies at " + s.history.unsent.Path})
	}
	if s.undrilled() {
		all = append(all, bus.Problem{Code: problemUndrilled, Title: "the last backup does not restore: " + s.history.undrilled.Error,
			Hint: "`blufio backup drill " + s.history.undrilled.Path + "` shows what is wrong"})
	}
	return all
}
