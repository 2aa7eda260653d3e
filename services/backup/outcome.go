// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/clip"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// started says that r was begun.
func (s *Service) started(r *running) {
	f := bus.BackupStartedFact{Time: r.began.UTC(), ID: r.step.ID, Scheduled: r.step.Scheduled}
	s.say(func(tx *sqlite.Tx) error { return eventlog.Record(s.d.Events, tx, bus.BackupStarted, f) })
}

// completed notes that r lies where it should.
func (s *Service) completed(r *running, m made) bus.BackupRun {
	now := s.d.Now()
	run := bus.BackupRun{ID: r.step.ID, Time: now.UTC(), Scheduled: r.step.Scheduled, Path: m.path, Bytes: m.archive.Bytes,
		DatabaseBytes: m.archive.DatabaseBytes, Seconds: seconds(now.Sub(r.began)), SHA256: m.sum}
	f := bus.BackupFact{Time: run.Time, ID: run.ID, Scheduled: run.Scheduled, Path: run.Path, Bytes: run.Bytes, DatabaseBytes: run.DatabaseBytes, Seconds: run.Seconds,
		SHA256: run.SHA256, Event: m.archive.Event, Encrypted: m.archive.Encrypted}
	s.mu.Lock()
	s.history.success = &run
	if run.Scheduled {
		s.history.scheduled = &run
		s.course.done, s.course.failures = run.Time, 0
	}
	s.mu.Unlock()
	s.say(func(tx *sqlite.Tx) error {
		if err := note(tx, lastSuccess, run.Time, run); err != nil {
			return err
		}
		if run.Scheduled {
			if err := note(tx, lastScheduled, run.Time, run); err != nil {
				return err
			}
		}
		return eventlog.Record(s.d.Events, tx, bus.BackupCompleted, f)
	})
	s.d.Logger.Info("backup made", "id", run.ID, "path", run.Path, "bytes", run.Bytes, "seconds", run.Seconds)
	return run
}

// failed notes that r was not made, and why.
func (s *Service) failed(r *running, why error) bus.BackupRun {
	now := s.d.Now()
	s.mu.Lock()
	run := bus.BackupRun{ID: r.step.ID, Time: now.UTC(), Scheduled: r.step.Scheduled, Stage: r.step.Stage, Error: s.told(why), Seconds: seconds(now.Sub(r.began))}
	s.history.failure = &run
	if run.Scheduled {
		s.course.failures++
		s.course.failed = now
		s.history.missed = &missed{BackupRun: run, Failures: s.course.failures}
	}
	failures, row := s.course.failures, s.history.missed
	s.mu.Unlock()
	s.meters.failed(run.Stage)
	s.d.Logger.Error("backup failed", "id", run.ID, "scheduled", run.Scheduled, "stage", run.Stage, "err", run.Error)
	s.say(func(tx *sqlite.Tx) error {
		if err := note(tx, lastFailure, run.Time, run); err != nil {
			return err
		}
		if run.Scheduled {
			if err := note(tx, lastMissed, run.Time, row); err != nil {
				return err
			}
		}
		return eventlog.Record(s.d.Events, tx, bus.BackupFailed, bus.BackupFailedFact{Time: run.Time, ID: run.ID, Scheduled: run.Scheduled, Stage: run.Stage, Error: run.Error, Failures: failures})
	})
	return run
}

// proved notes that an archive was shown to be good, by verifying or by a drill.
func (s *Service) proved(what string, lane bus.Event[bus.BackupProofFact], path string, bytes int64, took time.Duration) {
	p := bus.BackupProof{Time: s.d.Now().UTC(), Path: path, Bytes: bytes, Seconds: seconds(took)}
	s.mu.Lock()
	if what == lastVerified {
		s.history.verified = &p
	} else {
		s.history.drilled = &p
	}
	s.mu.Unlock()
	s.say(func(tx *sqlite.Tx) error {
		if err := note(tx, what, p.Time, p); err != nil {
			return err
		}
		return eventlog.Record(s.d.Events, tx, lane, bus.BackupProofFact(p))
	})
}

// spoiled notes that what follows a backup failed.
func (s *Service) spoiled(f follow, stage string, why error) {
	run := bus.BackupRun{ID: f.id, Time: s.d.Now().UTC(), Scheduled: true, Path: f.path, Bytes: f.bytes, Stage: stage, Error: s.told(why)}
	s.mu.Lock()
	s.history.failure = &run
	what := lastUnsent
	if stage == bus.BackupDrill {
		what, s.history.undrilled = lastUndrilled, &run
	} else {
		s.history.unsent = &run
	}
	failures := s.course.failures
	s.mu.Unlock()
	s.meters.failed(stage)
	s.d.Logger.Error("backup made, but what follows failed", "path", f.path, "stage", stage, "err", run.Error)
	s.say(func(tx *sqlite.Tx) error {
		if err := note(tx, lastFailure, run.Time, run); err != nil {
			return err
		}
		if err := note(tx, what, run.Time, run); err != nil {
			return err
		}
		return eventlog.Record(s.d.Events, tx, bus.BackupFailed, bus.BackupFailedFact{Time: run.Time, ID: run.ID, Scheduled: true, Stage: stage, Error: run.Error, Failures: failures})
	})
}

// flush waits until what was said is on disk, so that nothing is deleted before.
func (s *Service) flush(ctx context.Context) error {
	if err := s.d.Store.Write(ctx, func(*sqlite.Tx) error { return nil }); err != nil {
		return fmt.Errorf("note the backup: %w", err)
	}
	return nil
}

func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// told is what is kept and told of an error: its first line, for the stack of a panic comes
// behind that. Secrets are taken out before it is cut off: half of one would not be known any
// more.
func (s *Service) told(err error) string {
	first, _, _ := strings.Cut(s.d.Redact(err.Error()), "\n")
	return clip.Marked(first, maxTold)
}

// maxTold bounds what is kept and told of an error, in bytes.
const maxTold = 2000
