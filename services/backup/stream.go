// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/backup/archive"
	"github.com/blufio/blufio/services/internal/failpoint"
)

// stream is a backup that somebody reads.
type stream struct {
	run    *running
	wish   Wish
	chunks chan chunk    // one at a time, as they are read
	ended  chan ending   // what became of it; capacity 1
	gone   chan struct{} // closed when nobody asks any more
	idle   *time.Timer   // closes it
	over   chan struct{} // closed when nothing more comes; done and err are then set
	done   bus.BackupRun
	err    error

	mu   sync.Mutex // one reader at a time
	last chunk      // that was told
	next int64      // behind it
}

// chunk is a piece of the archive.
type chunk struct {
	data    []byte
	at      int64
	eof     bool
	sum     string
	archive *bus.BackupArchive
}

// ending is what the reader says at the end.
type ending struct{ path, why string }

var errGone = errors.New("nobody asked for the rest of it")

func newStream(run *running, w Wish, patience time.Duration) *stream {
	st := &stream{run: run, wish: w, chunks: make(chan chunk), ended: make(chan ending, 1), over: make(chan struct{}), gone: make(chan struct{})}
	st.idle = time.AfterFunc(patience, sync.OnceFunc(func() { close(st.gone) }))
	return st
}

// create answers ctl.backup.create.
func (s *Service) create(ctx context.Context, r bus.BackupRequest) (bus.BackupBegun, error) {
	if len(r.Recipients) > bus.MaxBackupRecipients {
		return bus.BackupBegun{}, bus.Errorf(bus.CodeInvalid, "a backup is encrypted to at most %d keys", bus.MaxBackupRecipients)
	}
	to, err := archive.ParseRecipients(r.Recipients)
	if err != nil {
		return bus.BackupBegun{}, bus.Errorf(bus.CodeInvalid, "%v", err).WithHint("`age-keygen` prints a public key, age1…")
	}
	run, err := s.claim(ctx, false)
	if err != nil {
		return bus.BackupBegun{}, err
	}
	st := newStream(run, Wish{DeviceKey: r.IncludeDeviceKey, Workspace: r.IncludeWorkspace, Recipients: to}, s.bounds.patience)
	s.mu.Lock()
	s.stream = st
	s.mu.Unlock()
	s.asked <- st // there is room: it has the one place
	return bus.BackupBegun{ID: run.step.ID, Name: archive.Name(s.d.Source.Node, run.began, len(to) > 0), EstimateBytes: s.d.Source.Estimate(st.wish)}, nil
}

// serve makes the backup that st asks for, and hands it out.
func (s *Service) serve(ctx context.Context, st *stream) {
	defer s.release(st.run)
	s.started(st.run)
	var m made
	err := services.Contain(func() (err error) {
		if err = s.d.Before(ctx, st.run.step.ID); err == nil {
			m, err = s.untilGone(ctx, st)
		}
		return err
	})
	switch {
	case stopping(ctx, err):
		st.end(bus.BackupRun{}, errStopped())
	case err != nil:
		done := s.failed(st.run, err)
		st.end(done, s.refusal(err))
		s.d.After(ctx, done)
	default:
		done := s.completed(st.run, m)
		st.end(done, nil)
		s.d.After(ctx, done)
	}
}

func errStopped() error {
	return bus.Errorf(bus.CodeUnavailable, "the daemon was stopped in the middle of the backup").WithHint("make it again when it runs, or while it does not")
}

// end tells the reader that nothing more comes, and lets go of what it may not ask for again.
func (st *stream) end(done bus.BackupRun, err error) {
	st.idle.Stop()
	st.done, st.err = done, err
	close(st.over)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.last.data = nil
}

// untilGone is hand for as long as there is a reader.
func (s *Service) untilGone(ctx context.Context, st *stream) (m made, err error) {
	reading, cancel := context.WithCancelCause(ctx)
	handed := errors.New("handed out")
	err = services.Work(reading, func(context.Context) (err error) {
		defer cancel(handed)
		m, err = s.hand(reading, st)
		return err
	}, func(context.Context) error {
		select {
		case <-st.gone:
			cancel(errGone)
		case <-reading.Done():
		}
		return nil
	})
	if cause := context.Cause(reading); err != nil && errors.Is(cause, errGone) {
		err = cause // whatever it was cut off in
	}
	return m, err
}

// refusal is an error for whoever asked for a backup.
func (s *Service) refusal(err error) error {
	var e *bus.Error
	if errors.As(err, &e) {
		return err
	}
	if errors.Is(err, archive.ErrSpace) {
		return bus.Errorf(bus.CodeUnavailable, "%s", s.told(err)).WithHint("a backup needs space in the data directory, for a copy of the database")
	}
	return bus.Errorf(bus.CodeUnavailable, "%s", s.told(err)).WithHint("`blufio doctor --deep` looks at the database and the disk")
}

// made is a finished backup.
type made struct {
	path     string
	sum      string
	archive  bus.BackupArchive
	verified time.Duration // how long that took; 0: it was not
}

// hand takes the cut, gives its archive to the reader, and waits for what becomes of it.
func (s *Service) hand(ctx context.Context, st *stream) (made, error) {
	tell := s.tell(st.run)
	cut, err := s.d.Source.Take(ctx, st.wish, filepath.Join(s.scratch(), st.run.step.ID), tell)
	if err != nil {
		return made{}, err
	}
	defer s.discard(cut)
	w := &chunker{ctx: ctx, st: st}
	bytes, sum, err := cut.Write(ctx, w, tell)
	if err != nil {
		return made{}, err
	}
	m := made{sum: sum, archive: cut.Summary(bytes)}
	if err := w.end(sum, &m.archive); err != nil {
		return made{}, err
	}
	failpoint.Hit("backup.handed")
	select {
	case e := <-st.ended:
		failpoint.Hit("backup.kept")
		if e.why != "" {
			return made{}, fmt.Errorf("whoever asked for it could not keep it: %s", e.why)
		}
		m.path = e.path
		return m, nil
	case <-ctx.Done():
		return made{}, context.Cause(ctx)
	}
}

func (s *Service) discard(c *Cut) {
	if err := c.Close(); err != nil {
		s.d.Logger.Warn("discard backup", "err", err)
	}
}

// chunker cuts what is written into pieces.
type chunker struct {
	ctx  context.Context
	st   *stream
	part []byte
	at   int64
}

// Write implements io.Writer. It waits for a reader.
func (w *chunker) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if w.part == nil {
			w.part = make([]byte, 0, bus.BackupChunkBytes) // not used again: an answer may still be on its way
		}
		take := min(len(p), cap(w.part)-len(w.part))
		w.part = append(w.part, p[:take]...)
		n, p = n+take, p[take:]
		if len(w.part) == cap(w.part) {
			if err := w.give(chunk{}); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (w *chunker) give(c chunk) error {
	c.data, c.at = w.part, w.at
	w.at += int64(len(w.part))
	w.part = nil
	select {
	case w.st.chunks <- c:
		return nil
	case e := <-w.st.ended:
		w.st.ended <- e
		return e.early()
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// early is the error of who says that all is done before it is.
func (e ending) early() error {
	if e.why == "" {
		e.why = "it was not read to its end"
	}
	return fmt.Errorf("whoever asked for it could not keep it: %s", e.why)
}

// end gives the last piece, which may be empty.
func (w *chunker) end(sum string, a *bus.BackupArchive) error {
	return w.give(chunk{eof: true, sum: sum, archive: a})
}

// reading finds the backup of that id.
func (s *Service) reading(id string) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == nil || s.stream.run.step.ID != id {
		return nil, bus.Errorf(bus.CodeNotFound, "there is no such backup any more").WithHint("begin a new one")
	}
	return s.stream, nil
}

// read answers ctl.backup.read.
func (s *Service) read(ctx context.Context, r bus.BackupRead) (bus.BackupChunk, error) {
	st, err := s.reading(r.ID)
	if err != nil {
		return bus.BackupChunk{}, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	select {
	case <-st.over:
		if st.err == nil {
			return bus.BackupChunk{}, bus.Errorf(bus.CodeNotFound, "the backup is done")
		}
		return bus.BackupChunk{}, st.err
	default:
		if !st.last.eof {
			st.idle.Reset(s.bounds.patience)
		}
	}
	switch {
	case r.Offset == st.last.at && st.next > st.last.at, st.last.eof && r.Offset == st.last.at:
		return s.piece(st), nil // it is asked for again
	case r.Offset != st.next || st.last.eof:
		return bus.BackupChunk{}, bus.Errorf(bus.CodeInvalid, "the next piece is at %d, and %d was asked for", st.next, r.Offset)
	}
	wait := time.NewTimer(s.bounds.wait)
	defer wait.Stop()
	select {
	case c := <-st.chunks:
		st.last, st.next = c, c.at+int64(len(c.data))
		if c.eof {
			st.idle.Reset(s.bounds.keeping)
		}
		return s.piece(st), nil
	case <-st.over:
		return bus.BackupChunk{}, st.err
	case <-ctx.Done():
		return bus.BackupChunk{}, ctx.Err()
	case <-wait.C:
		return s.progress(st), nil
	}
}

// piece is the last one, with how far the backup is.
func (s *Service) piece(st *stream) bus.BackupChunk {
	c := s.progress(st)
	c.Data, c.EOF, c.SHA256, c.Archive = st.last.data, st.last.eof, st.last.sum, st.last.archive
	return c
}

func (s *Service) progress(st *stream) bus.BackupChunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	step := st.run.step
	return bus.BackupChunk{Stage: step.Stage, Done: step.Done, Total: step.Total}
}

// finish answers ctl.backup.finish. Asked again, it answers the same.
func (s *Service) finish(ctx context.Context, r bus.BackupEnd) (bus.BackupEnded, error) {
	st, err := s.reading(r.ID)
	if err != nil {
		return bus.BackupEnded{}, err
	}
	if len(r.Path) > maxText || len(r.Error) > maxText {
		return bus.BackupEnded{}, bus.Errorf(bus.CodeInvalid, "a path or an error has at most %d bytes", maxText)
	}
	select {
	case st.ended <- ending{r.Path, r.Error}:
	default: // it was said before
	}
	select {
	case <-st.over:
	case <-ctx.Done():
		return bus.BackupEnded{}, ctx.Err()
	}
	if st.err != nil && st.done.ID == "" {
		return bus.BackupEnded{}, st.err
	}
	return bus.BackupEnded{Run: st.done}, nil
}

// maxText bounds what a reader may have told of.
const maxText = 8 << 10
