// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/backup/restore"
)

const (
	replacedAge  = 7 * 24 * time.Hour // until then everything stays: who tries one backup after the other may go back to the first
	replacedLook = 10 * time.Minute   // between two looks, and after the start: what does not run for so long may not be what is wanted
)

// lookAtReplaced counts what restores have replaced, and deletes what need not stay. The
// daemon holds the data directory, so no restore is under way.
func (s *Service) lookAtReplaced() {
	now := s.d.Now()
	s.mu.Lock()
	looked := s.looked
	s.mu.Unlock()
	if !looked.IsZero() && now.Sub(looked) < replacedLook && !now.Before(looked) {
		return
	}
	all, err := restore.List(s.d.Source.DataDir)
	if err != nil {
		s.d.Logger.Warn("look at what restores have replaced", "err", err)
	}
	kept := all
	if now.Sub(s.d.Started) >= replacedLook {
		kept = s.dropReplaced(all, now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept, s.looked = kept, now
}

// dropReplaced deletes what is old and beyond what is kept, and returns the rest.
func (s *Service) dropReplaced(all []restore.Replaced, now time.Time) (kept []restore.Replaced) {
	for i, r := range all {
		if i < s.cfg.KeepReplaced || now.Sub(r.At) < replacedAge {
			kept = append(kept, r)
			continue
		}
		if err := restore.Drop(s.d.Source.DataDir, r.Name); err != nil {
			s.d.Logger.Warn("remove what a restore has replaced", "name", r.Name, "err", err)
			kept = append(kept, r)
			continue
		}
		s.d.Logger.Info("removed what a restore has replaced", "name", r.Name, "bytes", r.Bytes)
	}
	return kept
}

// replaced is the sum of them.
func replaced(all []restore.Replaced) (sum bus.Replaced) {
	for _, r := range all {
		sum.Dirs, sum.Bytes = sum.Dirs+1, sum.Bytes+r.Bytes
	}
	return sum
}
