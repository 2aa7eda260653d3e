// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/command"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// follow is a backup that was made, for what follows.
type follow struct {
	id    string
	path  string
	bytes int64
}

// sendAway runs the owner's command for each backup.
func (s *Service) sendAway(ctx context.Context) error {
	for {
		select {
		case f := <-s.follows:
			s.send(ctx, f)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) send(ctx context.Context, f follow) {
	if len(s.cfg.After) == 0 {
		return
	}
	err := Command(ctx, s.cfg.AfterTimeout, append(append([]string{}, s.cfg.After...), f.path))
	switch {
	case stopping(ctx, err):
		s.spoiled(f, bus.BackupAfter, errStoppedSending)
	case err != nil:
		s.spoiled(f, bus.BackupAfter, err)
	default:
		s.sent(f)
	}
}

// sent takes back what toSend has noted, unless that is of the next by now.
func (s *Service) sent(f follow) {
	s.mu.Lock()
	last := s.history.scheduled
	s.mu.Unlock()
	if last == nil || last.Path != f.path {
		return
	}
	s.say(func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`DELETE FROM backup_last WHERE what = ?`, lastUnsent)
		return err
	})
}

// toSend notes for a next daemon that f is not sent away yet: this one may be killed.
func (s *Service) toSend(f follow) {
	run := bus.BackupRun{ID: f.id, Time: s.d.Now().UTC(), Scheduled: true, Path: f.path, Bytes: f.bytes, Stage: bus.BackupAfter, Error: errStoppedSending.Error()}
	s.say(func(tx *sqlite.Tx) error { return note(tx, lastUnsent, run.Time, run) })
}

var errStoppedSending = errors.New("the daemon was stopped before the command had ended")

// unsentAtStop tells of a backup whose turn to be sent away does not come any more.
func (s *Service) unsentAtStop() {
	select {
	case f := <-s.follows:
		if len(s.cfg.After) > 0 {
			s.spoiled(f, bus.BackupAfter, errStoppedSending)
		}
	default:
	}
}

// maxOutput bounds what is kept of a command's output: its end.
const maxOutput = 4 << 10

// grace is how long a command may take to end once it was asked to.
const grace = 2 * time.Second

// Command runs a command that gets no more of the environment than where programs are and
// who its user is. When its time is over it is ended, with all that it has started. The
// error has the end of what it said.
func Command(ctx context.Context, limit time.Duration, argv []string) error {
	out, err := command.Command{Argv: argv, Dir: "/", Env: environment(os.Environ()), Timeout: limit, Output: maxOutput, End: true, Grace: grace}.Run(ctx)
	switch {
	case errors.Is(err, command.ErrTimeout):
		err = fmt.Errorf("%s: it took longer than %s", filepath.Base(argv[0]), limit)
	case err == nil && out.Code != 0:
		err = fmt.Errorf("%s: %s", filepath.Base(argv[0]), out.State)
	}
	if said := lastWords(out); err != nil && said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// lastWords are what a command said last, on one line. What was cut in two is left out, for
// half a secret is known to nobody; and so is what stands before the host in a URL.
func lastWords(out command.Outcome) string {
	words := strings.Fields(out.Output)
	if out.Cut && len(words) > 1 {
		words = words[1:]
	}
	return credentials.ReplaceAllString(strings.Join(words, " "), "://…@")
}

var credentials = regexp.MustCompile(`://[^\s/@]+@`)

// environment keeps what a program needs to find others and its own settings, and none of
// the daemon's.
func environment(all []string) (kept []string) {
	for _, line := range all {
		name, _, _ := strings.Cut(line, "=")
		switch name {
		case "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CONFIG_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR":
			kept = append(kept, line)
		}
	}
	return kept
}

// drills starts a second daemon on a backup, when that is due.
func (s *Service) drills(ctx context.Context) error {
	tick := time.NewTicker(s.bounds.tick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if path, ok := s.drillDue(); ok && s.roomToDrill(ctx) {
				s.drill(ctx, path)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// drillDue names the backup to try, if it is time and no newer one is about to come. One
// that failed is tried again with the next backup, or after a day.
func (s *Service) drillDue() (path string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, now := s.history.scheduled, s.d.Now()
	if s.cfg.notDrilled() != "" || s.d.Drill == nil || last == nil || last.Path == "" || strings.HasSuffix(last.Path, bus.BackupSealed) {
		return "", false
	}
	if due, _ := s.course.due(now, s.cfg.Every); s.running != nil || !now.Before(due) {
		return "", false
	}
	if d := s.history.drilled; d != nil && !d.Time.After(now) && now.Sub(d.Time) < s.cfg.DrillEvery {
		return "", false
	}
	if u := s.history.undrilled; u != nil && u.Path == last.Path && !u.Time.After(now) && now.Sub(u.Time) < 24*time.Hour {
		return "", false
	}
	return last.Path, true
}

// drillBytes is what the two processes of a drill take of memory, seen with a database of
// half a million messages: 67 MB that no file backs.
const drillBytes = 80 << 20

// roomToDrill reports that a second daemon fits beside this one. Both are in one control
// group as a rule, and where that runs out the kernel ends one of them. A drill that does
// not fit waits for a calmer time.
func (s *Service) roomToDrill(ctx context.Context) bool {
	m, err := bus.MemoryRead.Ask(ctx, s.conn.Load(), bus.MemoryQuery{})
	fits := err != nil || m.Pressure == bus.PressureNormal && (m.Limit == 0 || m.RSS-m.Baseline+drillBytes <= m.Limit)
	if !fits && !s.cramped {
		s.d.Logger.Info("drill put off: memory is short", "rss_bytes", m.RSS, "limit_bytes", m.Limit, "needs_bytes", drillBytes)
	}
	s.cramped = !fits
	return fits
}

func (s *Service) drill(ctx context.Context, path string) {
	began := s.d.Now()
	f := follow{path: path, bytes: sizeOf(path)}
	switch err := s.d.Drill(ctx, path); {
	case stopping(ctx, err):
	case err != nil:
		s.spoiled(f, bus.BackupDrill, err)
	default:
		s.proved(lastDrilled, bus.BackupDrilled, path, f.bytes, s.d.Now().Sub(began))
	}
}
