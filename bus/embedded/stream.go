// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	streamName = "EVENTS"
	epochKey   = "blufio-epoch" // in the stream's metadata

	// JetStream remembers each message id for this long, at some 300 bytes
	// each: two minutes of a busy agent would be tens of megabytes. The relay asks
	// the stream what it stored last before it goes on, so ids need only cover
	// answers that are still on their way.
	dedupeWindow = 10 * time.Second

	// Nothing is stored in memory. JetStream takes zero for "as much as
	// there is", hence a byte.
	streamMemory = 1
	// What bounds the files is the limit of the account. JetStream's own must
	// be far above it, because closing a stream does not return what was
	// reserved for it, and the account is closed and opened to mend it.
	serverStore = 1 << 40

	maxPerSubject = 1 << 40 // messages: as good as none

	maxConsumers = 64       // replays at the same time
	minFree      = 16 << 20 // bytes of disk left, below which the stream stays closed

	// Opening the whole of JetStream a second time, necessary only if it
	// closed itself, leaves a few goroutines and a second answer to each API
	// request behind (nats-server 2.15 keeps its old subscription). Rare
	// enough to live with, but not for ever.
	maxOpened = 8
)

// ErrNoSpace means that the disk is too full to open the event stream.
var ErrNoSpace = errors.New("disk is almost full")

func (c Config) eventBytes() int64 { return int64(c.EventsMB) << 20 }

// storeBytes bounds the files of the stream: what it may keep, a quarter more
// for deleted messages in blocks not yet full, and room for its state.
func (c Config) storeBytes() int64 { return c.eventBytes()*5/4 + 4<<20 }

func (c Config) streamDir() string {
	return filepath.Join(c.Dir, server.JetStreamStoreDir, accountWatch, "streams", streamName)
}

func (c Config) streamConfig(epoch string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              streamName,
		Description:       "What happened, for watching and replay. A copy: it may be thrown away.",
		Subjects:          []string{eventSubjects},
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		MaxAge:            time.Duration(c.EventsDays) * 24 * time.Hour,
		MaxBytes:          c.eventBytes(),
		MaxMsgSize:        maxPayload,
		MaxMsgs:           -1,
		MaxMsgsPerSubject: maxPerSubject,
		Duplicates:        dedupeWindow,
		AllowDirect:       true,
		Replicas:          1,
		Metadata:          map[string]string{epochKey: epoch},
	}
}

// openingConfig is what the stream is opened with. The server chooses the size of its
// blocks then and never again, and holds two or three of them in memory while the stream
// is written to: of 8 MiB for as many bytes as are kept here, of 4 MiB where nothing is
// bounded but the messages of each subject. The bound of bytes follows at once.
func (c Config) openingConfig(epoch string) jetstream.StreamConfig {
	cfg := c.streamConfig(epoch)
	cfg.MaxBytes = -1
	return cfg
}

// OpenEvents opens the event stream, or opens it again after a failure: call
// it whenever Events.Err is not nil, with a pause in between. A stream that
// does not open or cannot be read is deleted and begun anew, with a new epoch.
// All calls return the same Events. An error leaves the bus working without
// replay; ErrNoSpace tells that the disk is full.
func (s *Server) OpenEvents(ctx context.Context) (*Events, error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.stopped {
		return nil, fmt.Errorf("open event stream: %w", ErrClosed)
	}
	e, err := s.handle()
	if err != nil {
		return nil, err
	}
	if err := s.openStream(ctx, e); err != nil {
		return nil, fmt.Errorf("open event stream: %w", err)
	}
	return e, nil
}

// Events returns what OpenEvents does, without opening the stream: what is
// published there is heard, and not stored until OpenEvents has succeeded. It
// waits for a running OpenEvents.
func (s *Server) Events() (*Events, error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.stopped {
		return nil, fmt.Errorf("reach event stream: %w", ErrClosed)
	}
	return s.handle()
}

// handle makes the Events of this server once. s.opening is held.
func (s *Server) handle() (*Events, error) {
	if s.events != nil {
		return s.events, nil
	}
	e, err := s.newEvents()
	if err != nil {
		return nil, err
	}
	s.events = e
	return e, nil
}

// Recreate deletes all events and begins a new stream with a new epoch, while
// the bus goes on. Events published meanwhile are heard but not stored.
func (e *Events) Recreate(ctx context.Context) error {
	s := e.server
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.stopped {
		return fmt.Errorf("recreate event stream: %w", ErrClosed)
	}
	if err := s.wipe(); err != nil {
		return fmt.Errorf("recreate event stream: %w", err)
	}
	if err := s.openStream(ctx, e); err != nil {
		return fmt.Errorf("recreate event stream: %w", err)
	}
	return nil
}

// openStream opens what is there and, if that fails, an empty stream.
func (s *Server) openStream(ctx context.Context, e *Events) error {
	if err := s.prepareDir(); err != nil {
		return err
	}
	// A stream that could not write, as on a full disk, does not try again
	// until it is closed and opened.
	if e.stream.Load() != nil && e.Err() != nil {
		if err := s.closeStream(); err != nil {
			return err
		}
	}
	damage := s.tryStream(ctx, e)
	if damage == nil {
		return nil
	}
	if ctx.Err() != nil || s.opened >= maxOpened && !s.ns.JetStreamEnabled() {
		return damage
	}
	s.log.log.Warn("event stream is damaged and begun anew", "err", damage)
	if err := s.wipe(); err != nil {
		return errors.Join(damage, err)
	}
	return s.tryStream(ctx, e)
}

// prepareDir makes the directory and refuses a disk that is almost full: on
// such a disk JetStream closes itself at the first write.
func (s *Server) prepareDir() error {
	if s.cfg.Dir == "" {
		return errors.New("no directory is configured")
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(s.cfg.Dir, &disk); err != nil {
		return fmt.Errorf("measure disk: %w", err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < minFree {
		return fmt.Errorf("%d MiB free in %s: %w", free>>20, s.cfg.Dir, ErrNoSpace)
	}
	return nil
}

// tryStream opens JetStream and the stream as they are on disk, and creates
// the stream only where there has been none.
func (s *Server) tryStream(ctx context.Context, e *Events) error {
	stream, err := s.unbounded(ctx, e)
	if err == nil {
		stream, err = e.js.UpdateStream(ctx, s.cfg.streamConfig(epochOf(stream)))
	}
	if err != nil {
		return fmt.Errorf("set up stream: %w", err)
	}
	if err := readable(ctx, stream); err != nil {
		return err
	}
	e.reopened(stream)
	return nil
}

func epochOf(stream jetstream.Stream) string { return stream.CachedInfo().Config.Metadata[epochKey] }

// unbounded opens or creates the stream without its bound of bytes, see openingConfig.
// The files of one that had it are read in once more.
func (s *Server) unbounded(ctx context.Context, e *Events) (jetstream.Stream, error) {
	_, statErr := os.Stat(s.cfg.streamDir())
	if err := s.enable(); err != nil {
		return nil, err
	}
	stream, err := e.js.Stream(ctx, streamName)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && errors.Is(statErr, fs.ErrNotExist):
		return e.js.CreateStream(ctx, s.cfg.openingConfig(nuid.Next()))
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, errors.New("its files are there, but JetStream could not read them")
	case err != nil || stream.CachedInfo().Config.MaxBytes <= 0:
		return stream, err
	}
	if _, err := e.js.UpdateStream(ctx, s.cfg.openingConfig(epochOf(stream))); err != nil {
		return nil, err
	}
	if err := s.closeStream(); err != nil {
		return nil, err
	}
	if err := s.enable(); err != nil {
		return nil, err
	}
	return e.js.Stream(ctx, streamName)
}

// readable reads the first and the last message. JetStream notices damage in
// its blocks only when it reads them.
func readable(ctx context.Context, stream jetstream.Stream) error {
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	for _, seq := range []uint64{state.FirstSeq, state.LastSeq} {
		if _, err := stream.GetMsg(ctx, seq); err != nil {
			return fmt.Errorf("read message %d: %w", seq, err)
		}
	}
	return nil
}

// enable turns JetStream on for WATCH alone, whose streams that reads in.
func (s *Server) enable() error {
	if !s.ns.JetStreamEnabled() {
		if s.opened >= maxOpened {
			return fmt.Errorf("JetStream closed itself %d times: a restart is due", s.opened)
		}
		s.ring.wiring.Lock()
		err := s.ns.EnableJetStream(&server.JetStreamConfig{
			StoreDir: s.cfg.Dir, MaxMemory: streamMemory, MaxStore: serverStore, CompressOK: true, Strict: true, Domain: s.cfg.Leaf.domain(),
		})
		s.ring.wiring.Unlock()
		if err != nil {
			return errors.Join(fmt.Errorf("start JetStream: %w", err), s.ns.ShutdownJetStream())
		}
		s.opened++
	}
	watch, err := s.ns.LookupAccount(accountWatch)
	if err != nil {
		return fmt.Errorf("find account: %w", err)
	}
	if watch.JetStreamEnabled() {
		return nil
	}
	if err := watch.EnableJetStream(s.cfg.accountLimits(), nil); err != nil {
		return fmt.Errorf("start JetStream for the stream's account: %w", err)
	}
	return nil
}

// accountLimits let WATCH have this one stream on disk and nothing in memory.
func (c Config) accountLimits() map[string]server.JetStreamAccountLimits {
	return map[string]server.JetStreamAccountLimits{"": {
		MaxMemory: 0, MaxStore: c.storeBytes(), MaxStreams: 1, MaxConsumers: maxConsumers,
		MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: c.storeBytes(),
	}}
}

// closeStream closes the stream and leaves its files. JetStream itself stays
// on: closing the account's part alone leaves nothing behind.
func (s *Server) closeStream() error {
	watch, err := s.ns.LookupAccount(accountWatch)
	if err != nil {
		return fmt.Errorf("find account: %w", err)
	}
	if !watch.JetStreamEnabled() || !s.ns.JetStreamEnabled() {
		return nil
	}
	if err := watch.DisableJetStream(); err != nil {
		return fmt.Errorf("close stream: %w", err)
	}
	return nil
}

// wipe closes the stream and deletes its files.
func (s *Server) wipe() error {
	if err := s.closeStream(); err != nil {
		return err
	}
	// Moved aside first, so that a deletion that fails half way leaves no
	// half stream to be opened.
	store := filepath.Join(s.cfg.Dir, server.JetStreamStoreDir)
	aside := filepath.Join(s.cfg.Dir, "damaged")
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("delete old events: %w", err)
	}
	if err := os.Rename(store, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("move events aside: %w", err)
	}
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("delete old events: %w", err)
	}
	return nil
}
