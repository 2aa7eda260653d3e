// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/blufio/blufio/services/backup/restore"
)

// LockedError means that another daemon holds the data directory.
type LockedError struct {
	Dir string
	PID int // of the other one; 0 when it has not said
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("another daemon holds %s", e.Dir)
	}
	return fmt.Sprintf("another daemon (pid %d) holds %s", e.PID, e.Dir)
}

// lock is held on a file for as long as the daemon runs. The system lets it go
// with the process, however that ends, so it is never stale.
type lock struct {
	file  *os.File
	ended ended // a restore that was cut off before
}

type ended restore.Ended

// words are for people; "" when nothing had been cut off.
func (e ended) words() string {
	switch e.Outcome {
	case restore.Done:
		return "a restore had been cut off and was brought to its end: the backup is in place"
	case restore.Undone:
		return "a restore had been cut off and was undone: the old files are in place again"
	}
	return ""
}

const (
	lockTries = 10
	lockPause = 30 * time.Millisecond
)

func takeLock(dir string) (*lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	// A command that asks whether a daemon runs holds the lock for a moment.
	for range lockTries {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			break
		}
		time.Sleep(lockPause)
	}
	if err == nil {
		return held(dir, f)
	}
	locked := &LockedError{Dir: dir}
	if info, readErr := ReadInfo(dir); readErr == nil {
		locked.PID = info.PID
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("lock data directory: %w", err), f.Close())
	}
	return nil, errors.Join(locked, f.Close())
}

// held is a lock that was just taken: nothing in the directory is opened before a restore
// that was cut off is ended.
func held(dir string, f *os.File) (*lock, error) {
	e, err := restore.Replay(dir)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &lock{f, ended(e)}, nil
}

// tell says what became of a restore that was cut off.
func (l *lock) tell(log *slog.Logger) {
	switch e := l.ended; e.Outcome {
	case restore.Done:
		log.Warn(e.words(), "old_files", e.Pre)
	case restore.Undone:
		log.Warn(e.words(), "err", e.Why)
	}
}

// say says it too, to a person who gave a command.
func (l *lock) say(to func(line string)) {
	if words := l.ended.words(); words != "" {
		to(words)
	}
}

func (l *lock) release() error { return l.file.Close() }

// Running reports whether a daemon holds the data directory now.
func Running(dir string) (bool, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open lock: %w", err)
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

func infoPath(dir string) string { return filepath.Join(dir, "daemon.json") }

// ReadInfo reads where the daemon on dir is reached. The error is fs.ErrNotExist
// when none runs; after a crash the file may be left of one that does not.
func ReadInfo(dir string) (Info, error) {
	var info Info
	data, err := os.ReadFile(infoPath(dir))
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return info, fmt.Errorf("read %s: %w", infoPath(dir), err)
	}
	return info, nil
}

// writeInfo replaces daemon.json in one step: a reader sees the old or the new.
func writeInfo(dir string, info Info) error { return writeInfoAs(dir, info, 0o600) }

func writeInfoAs(dir string, info Info, mode os.FileMode) error {
	data, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode daemon.json: %w", err)
	}
	tmp := infoPath(dir) + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write daemon.json: %w", err)
	}
	if err := errors.Join(os.Chmod(tmp, mode), os.Rename(tmp, infoPath(dir))); err != nil { // no umask counts
		return fmt.Errorf("write daemon.json: %w", err)
	}
	return nil
}

func removeInfo(dir string) error {
	if err := os.Remove(infoPath(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove daemon.json: %w", err)
	}
	return nil
}
