// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/backup/archive"
	"github.com/blufio/blufio/services/internal/failpoint"
)

// dir is where the daemon's own backups lie.
func (s *Service) dir() string { return s.cfg.Directory(s.d.Source.DataDir) }

// Directory is where the backups of a daemon lie.
func (c Config) Directory(dataDir string) string {
	if c.Dir != "" {
		return c.Dir
	}
	return filepath.Join(dataDir, "backups")
}

// shown is whose archives are looked at there, "" for everybody's: what the owner has named
// may be the directory of several daemons.
func (c Config) shown(node string) string {
	if c.Dir == "" {
		return ""
	}
	return node
}

// ours reports whether the daemon itself has made a file of its directory, so that it may be
// deleted. The name says so. A daemon may have had another, as a container does that is made
// anew without one; in the directory of its own the device's key in the archive tells of that.
// What is encrypted tells nothing, and stays.
func (s *Service) ours(node, path string) bool {
	if node == archive.NodeName(s.d.Source.Node) {
		return true
	}
	if s.cfg.Dir != "" {
		return false
	}
	m, err := archive.Inspect(path)
	if err != nil {
		return false
	}
	device, err := s.d.Source.Device()
	return err == nil && m.Device == device
}

// scheduled makes a backup if one is due.
func (s *Service) scheduled(ctx context.Context) {
	s.mu.Lock()
	due, ok := s.course.due(s.d.Now(), s.cfg.Every)
	s.mu.Unlock()
	if !ok || s.d.Now().Before(due) {
		return
	}
	run, err := s.claim(ctx, true)
	if err != nil {
		if ctx.Err() == nil {
			s.d.Logger.Info("backup put off", "err", err)
		}
		s.mu.Lock()
		s.course.deferred = s.d.Now()
		s.mu.Unlock()
		return
	}
	defer s.release(run)
	s.started(run)
	var m made
	err = services.Contain(func() (err error) {
		if err = s.d.Before(ctx, run.step.ID); err == nil {
			m, err = s.keep(ctx, run)
		}
		return err
	})
	switch {
	case stopping(ctx, err):
		s.d.Logger.Info("backup broken off: the daemon stops")
	case err != nil:
		s.d.After(ctx, s.failed(run, err))
	default:
		done := s.completed(run, m)
		s.proved(lastVerified, bus.BackupVerified, m.path, m.archive.Bytes, m.verified)
		s.d.After(ctx, done)
		s.afterwards(ctx, run, m)
	}
}

// keep makes one backup in the directory. It has its name only when every byte was read
// again.
func (s *Service) keep(ctx context.Context, run *running) (made, error) {
	to, err := archive.ParseRecipients(s.cfg.Recipients)
	if err != nil {
		return made{}, fmt.Errorf("backup.recipients: %w", err)
	}
	wish := Wish{Workspace: s.cfg.IncludeWorkspace, Recipients: to}
	if err := s.prepare(wish); err != nil {
		return made{}, err
	}
	tell := s.tell(run)
	cut, err := s.d.Source.Take(ctx, wish, filepath.Join(s.scratch(), run.step.ID), tell)
	if err != nil {
		return made{}, err
	}
	defer s.discard(cut)
	path := filepath.Join(s.dir(), cut.Name())
	file, err := archive.Create(path, false)
	if err != nil {
		return made{}, err
	}
	bytes, sum, err := cut.Write(ctx, file, tell)
	if err == nil {
		err = file.Sync()
	}
	s.discard(cut) // which makes room for the database that is verified
	var took time.Duration
	if err == nil {
		took, err = s.verify(ctx, file.Partial(), wish, bytes, sum, tell)
		failpoint.Hit("backup.verified")
	}
	if err == nil {
		err = file.Commit()
	}
	if err != nil {
		return made{}, errors.Join(err, file.Abort())
	}
	return made{path: path, sum: sum, archive: cut.Summary(bytes), verified: took}, nil
}

// prepare finds the directory, and removes what a crash has left there. Only our own is
// made: one that the owner named may be a disk that is not there.
func (s *Service) prepare(w Wish) error {
	dir := s.dir()
	if s.cfg.Dir == "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make backup directory: %w", err)
		}
	}
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("open backup directory: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("open backup directory: %s is not a directory", dir)
	}
	if err := archive.Sweep(dir, s.ours); err != nil {
		return err
	}
	_, archive := s.d.Source.space(w, dir)
	return roomFor(dir, archive)
}

// verify reads the archive again. One that is encrypted cannot be opened here: then the
// bytes are held against those that were written, of a copy that was checked.
func (s *Service) verify(ctx context.Context, path string, w Wish, bytes int64, sum string, tell Tell) (time.Duration, error) {
	tell(bus.BackupVerify, 0, bytes)
	began := s.d.Now()
	again, err := hashOf(ctx, path)
	if err == nil && again != sum {
		err = fmt.Errorf("%w: what was written is not what is read", archive.ErrDamaged)
	}
	if err == nil && len(w.Recipients) == 0 {
		_, err = archive.Verify(ctx, path, archive.Options{Scratch: s.scratch(), Progress: func(done, total int64) { tell(bus.BackupVerify, done, total) }})
	}
	if err != nil {
		return 0, fmt.Errorf("verify backup: %w", err)
	}
	return s.d.Now().Sub(began), nil
}

func hashOf(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, reader{ctx, f}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// afterwards thins out the directory, and has the rest done apart.
func (s *Service) afterwards(ctx context.Context, run *running, m made) {
	if err := s.flush(ctx); err == nil {
		failpoint.Hit("backup.noted")
		if err := s.thin(); err != nil {
			s.d.Logger.Warn("remove old backups", "err", err)
		}
	}
	failpoint.Hit("backup.thinned")
	f := follow{id: run.step.ID, path: m.path, bytes: m.archive.Bytes}
	if len(s.cfg.After) > 0 {
		s.toSend(f)
	}
	select {
	case s.follows <- f:
	default: // the one before is still being sent away
		if len(s.cfg.After) > 0 {
			s.spoiled(f, bus.BackupAfter, errors.New("the command for the backup before has not ended yet"))
		}
	}
}

// thin removes the backups that need not stay.
func (s *Service) thin() error {
	found, err := s.list()
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(slices.Clone(found), func(f stored) bool { return !s.ours(f.node, filepath.Join(s.dir(), f.name)) })
	if others := len(found) - len(all); others > 0 {
		s.d.Logger.Info("backups of other names stay: they are another daemon's, or encrypted", "dir", s.dir(), "files", others)
	}
	s.mu.Lock()
	verified := ""
	if v := s.history.verified; v != nil {
		verified = filepath.Base(v.Path)
	}
	s.mu.Unlock()
	now := s.d.Now() // what is of later is of a clock that was ahead: it counts when its time has come
	past := slices.DeleteFunc(slices.Clone(all), func(f stored) bool { return f.at.After(now) })
	gone := s.cfg.keep().expired(past, verified, s.d.Loc)
	var errs []error
	for _, old := range gone {
		if err := os.Remove(filepath.Join(s.dir(), old.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		s.d.Logger.Info("old backup removed", "path", filepath.Join(s.dir(), old.name))
	}
	s.mu.Lock()
	s.files = len(all) - len(gone) + len(errs)
	s.mu.Unlock()
	return errors.Join(errs...)
}

// list reads the directory: archives, newest first, of this daemon where it may be that of
// several. Everything else there is nobody's business.
func (s *Service) list() ([]stored, error) { return list(s.dir(), s.cfg.shown(s.d.Source.Node)) }

// list is that of one node, or with "" of all.
func list(dir, node string) (all []stored, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		of, at, ok := archive.ParseName(e.Name())
		if !ok || node != "" && of != archive.NodeName(node) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // gone since
		}
		all = append(all, stored{name: e.Name(), node: of, at: at, bytes: info.Size(), sealed: strings.HasSuffix(e.Name(), bus.BackupSealed)})
	}
	slices.SortFunc(all, newer)
	return all, nil
}

// named are the newest ones, for people.
func named(all []stored, most int) (files []bus.BackupFile, more int) {
	files = []bus.BackupFile{}
	for _, f := range all[:min(len(all), most)] {
		files = append(files, bus.BackupFile{Name: f.name, Time: f.at.UTC(), Bytes: f.bytes, Encrypted: f.sealed})
	}
	return files, len(all) - len(files)
}

// List names the archives in a directory, of whatever daemon, newest first.
func List(dir string, most int) (files []bus.BackupFile, more int, err error) {
	all, err := list(dir, "")
	if err != nil {
		return nil, 0, err
	}
	files, more = named(all, most)
	return files, more, nil
}
