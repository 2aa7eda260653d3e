// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
)

// archiver makes one backup: the running daemon, or we in its place.
type archiver interface {
	begin(ctx context.Context, r bus.BackupRequest, say stageTell) (name string, estimate int64, err error)
	write(ctx context.Context, w io.Writer, say stageTell) (bus.BackupArchive, string, error)
	ended(ctx context.Context, path string, why error) // says what became of it
	close(ctx context.Context)
}

// stageTell hears how far a backup is; a total of 0 is not known.
type stageTell func(stage string, done, total int64)

// archiver finds who makes it.
func (a *app) archiver(ctx context.Context) (archiver, error) {
	dir, err := a.data()
	if err != nil {
		return nil, err
	}
	running, err := serve.Running(dir)
	if err != nil {
		return nil, err
	}
	if running {
		c, err := a.dial(bus.BackupCreate, bus.BackupTake, bus.BackupFinish)
		if err != nil {
			return nil, err
		}
		return &liveArchiver{c: c, dir: dir}, nil
	}
	if _, err := os.Stat(filepath.Join(dir, "blufio.db")); errors.Is(err, fs.ErrNotExist) {
		return nil, fail(exitNotRunning, hintStart, "there is nothing to back up in %s", dir)
	}
	return &ownArchiver{a: a, dir: dir}, nil
}

// written is a backup that was made.
type written struct {
	path    string
	sum     string
	archive bus.BackupArchive
	took    time.Duration
}

// writeBackup has src make a backup and writes it to where it is wanted.
func (a *app) writeBackup(ctx context.Context, src archiver, w backupWish, p *progress) (b written, err error) {
	began := a.now()
	name, estimate, err := src.begin(ctx, w.request, p.tell)
	if err != nil {
		return b, err
	}
	defer func() { src.ended(ctx, b.path, err) }()
	if w.path == stdoutPath {
		b.path = stdoutPath
		b.archive, b.sum, err = src.write(ctx, a.out, p.tell)
	} else if b.path, err = w.target(name); err == nil {
		b.archive, b.sum, err = writeFile(ctx, src, b.path, estimate, w.force, p)
	}
	b.took = a.now().Sub(began)
	return b, err
}

// writeFile gives the file its name when it is whole.
func writeFile(ctx context.Context, src archiver, path string, estimate int64, force bool, p *progress) (bus.BackupArchive, string, error) {
	var none bus.BackupArchive
	enough := func() error {
		if free, err := serve.FreeSpace(filepath.Dir(path)); err == nil && free < estimate {
			return fail(exitFailed, "free some space, or name another disk", "%s has %s free, and the backup may need %s", filepath.Dir(path), size(free), size(estimate))
		}
		return nil
	}
	if err := enough(); err != nil {
		return none, "", err
	}
	f, err := serve.CreateBackup(path, force)
	if errors.Is(err, fs.ErrExist) {
		return none, "", errTaken(path)
	}
	if err != nil {
		return none, "", err
	}
	archive, sum, err := src.write(ctx, &roomy{f, enough}, p.tell)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		if err = f.Commit(); err != nil {
			err = &notNamedError{err}
		}
	}
	if err != nil {
		return none, "", errors.Join(err, f.Abort())
	}
	return archive, sum, nil
}

// notNamedError is one of a backup that was whole: it says itself what became of the file.
type notNamedError struct{ err error }

func (e *notNamedError) Error() string { return e.err.Error() }
func (e *notNamedError) Unwrap() error { return e.err }

// roomy looks at the free space again when the first bytes come: the daemon has made its copy
// by then, perhaps on the same disk.
type roomy struct {
	io.Writer
	check func() error // nil: it was made
}

func (r *roomy) Write(p []byte) (int, error) {
	if check := r.check; check != nil {
		r.check = nil
		if err := check(); err != nil {
			return 0, err
		}
	}
	return r.Writer.Write(p)
}

// liveArchiver is the daemon.
type liveArchiver struct {
	c   *bus.Conn
	dir string
	id  string
}

func (l *liveArchiver) begin(ctx context.Context, r bus.BackupRequest, _ stageTell) (string, int64, error) {
	b, err := bus.BackupCreate.Ask(ctx, l.c, r)
	l.id = b.ID
	return b.Name, b.EstimateBytes, err
}

// write takes the archive piece by piece, and holds its hash against the daemon's.
func (l *liveArchiver) write(ctx context.Context, w io.Writer, say stageTell) (bus.BackupArchive, string, error) {
	var at int64
	sum := sha256.New()
	for {
		c, err := l.next(ctx, at)
		if err != nil {
			return bus.BackupArchive{}, "", l.gone(ctx, err)
		}
		if _, err := w.Write(c.Data); err != nil {
			return bus.BackupArchive{}, "", fmt.Errorf("write backup: %w", err)
		}
		sum.Write(c.Data)
		at += int64(len(c.Data))
		say(c.Stage, c.Done, c.Total)
		if c.EOF {
			return l.compare(c, sum)
		}
	}
}

// backupTries is how often a piece is asked for whose answer does not come.
const backupTries = 6

// next asks for the piece at an offset. Asked again, the daemon gives the same.
func (l *liveArchiver) next(ctx context.Context, at int64) (c bus.BackupChunk, err error) {
	for range backupTries {
		c, err = bus.BackupTake.Ask(ctx, l.c, bus.BackupRead{ID: l.id, Offset: at})
		if code := bus.CodeOf(err); ctx.Err() != nil || code != bus.CodeTimeout && code != bus.CodeBusy {
			break
		}
	}
	return c, err
}

// gone tells that the daemon has ended from other errors.
func (l *liveArchiver) gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if running, lockErr := serve.Running(l.dir); lockErr == nil && !running {
		return fail(exitFailed, "make it again: it works with the daemon and without", "the daemon ended in the middle of the backup; nothing was written")
	}
	return err
}

func (l *liveArchiver) compare(c bus.BackupChunk, sum hash.Hash) (bus.BackupArchive, string, error) {
	if got := hex.EncodeToString(sum.Sum(nil)); got != c.SHA256 || c.Archive == nil {
		return bus.BackupArchive{}, "", fail(exitFailed, "make it again; if this stays so, please report it", "the backup was damaged on its way here")
	}
	return *c.Archive, c.SHA256, nil
}

// ended lets the daemon go on; that it does not hear of it is its own affair.
func (l *liveArchiver) ended(ctx context.Context, path string, why error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	end := bus.BackupEnd{ID: l.id, Path: path}
	if why != nil {
		end.Path, end.Error = "", line(why.Error())
	}
	_, _ = bus.BackupFinish.Ask(ctx, l.c, end)
}

func (l *liveArchiver) close(ctx context.Context) { hangUp(ctx, l.c) }

// ownArchiver reads the files of a stopped daemon, as their owner.
type ownArchiver struct {
	a   *app
	dir string
	b   *serve.OfflineBackup
}

func (o *ownArchiver) begin(ctx context.Context, r bus.BackupRequest, say stageTell) (string, int64, error) {
	cfg, loaded, err := serve.Load(o.a.sources(nil))
	if err != nil { // a backup is wanted most when something is wrong
		o.a.complain("the configuration is not valid, and its files are not in the backup", "`blufio config validate` says what is wrong with it")
		loaded = nil
	}
	err = asOwner(o.dir, func() (err error) {
		o.b, err = serve.TakeBackup(ctx, serve.Options{Config: cfg, Loaded: loaded, Environ: o.a.environ, DataDir: o.dir, Version: buildInfo().Version,
			Logger: slog.New(slog.DiscardHandler), Now: o.a.now}, r, say)
		return err
	})
	var locked *serve.LockedError
	switch {
	case errors.As(err, &locked):
		return "", 0, fail(exitNoAnswer, "try again in a moment", "the daemon on %s is starting or stopping", o.dir)
	case err != nil:
		return "", 0, err
	}
	if ended := o.b.Ended(); ended != "" {
		o.a.warnFirst(ended)
	}
	return o.b.Name(), o.b.Estimate(), nil
}

func (o *ownArchiver) write(ctx context.Context, w io.Writer, say stageTell) (bus.BackupArchive, string, error) {
	return o.b.Write(ctx, w, say)
}

func (o *ownArchiver) ended(context.Context, string, error) {}

func (o *ownArchiver) close(context.Context) {
	if o.b != nil {
		if err := o.b.Close(); err != nil {
			o.a.note("blufio: %v", err)
		}
	}
}

// asOwner does something as the owner of the data directory and, other than becomeOwner,
// is root again afterwards: the backup is written as whoever asked for it.
func asOwner(dir string, do func() error) (err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the data directory: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if os.Geteuid() != 0 || owner.Uid == 0 {
		return do()
	}
	groups, err := syscall.Getgroups()
	if err != nil {
		return fmt.Errorf("become the owner of %s: %w", dir, err)
	}
	const same = -1
	become := func(groups []int, uid, gid int) error {
		for _, step := range []func() error{
			func() error { return syscall.Setresuid(same, 0, same) }, // whoever we are: only root may do the rest
			func() error { return syscall.Setgroups(groups) },
			func() error { return syscall.Setresgid(same, gid, same) },
			func() error { return syscall.Setresuid(same, uid, same) },
		} {
			if err := step(); err != nil {
				return fmt.Errorf("become the owner of %s: %w", dir, err)
			}
		}
		return nil
	}
	if err := become(nil, int(owner.Uid), int(owner.Gid)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, become(groups, 0, os.Getgid())) }()
	return do()
}
