// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"context"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	shedEvery  = 10 * time.Second // under pressure
	shrinkTime = 5 * time.Second
)

// database stands for SQLite's caches among the rooms that shed: they are nobody's
// room, and the governor empties them itself.
const database = "database"

// relieve gives memory up, whenever the readings ask for it, until ctx ends. It has
// a goroutine of its own, so that no room that is slow holds up the readings.
func (s *Service) relieve(ctx context.Context) error {
	for {
		select {
		case level := <-s.wanted:
			s.shed(ctx, level)
		case <-ctx.Done():
			return nil
		}
	}
}

// want asks for relief at a level, normal in a pause, and reports whether it is heard:
// some may be under way.
func (s *Service) want(level string) (heard bool) {
	select {
	case s.wanted <- level:
		return true
	default:
		return false
	}
}

// shed asks every room for what it can spare, empties the database's caches,
// collects garbage and returns what is free to the system. In a pause it also lets
// go of the program's own pages: those that are needed come back from the file,
// those that only the start needed do not.
func (s *Service) shed(ctx context.Context, level string) {
	began, total := s.deps.Now(), int64(0)
	if err := s.bus().ForgetMatches(); err != nil {
		s.complain(ctx, "bus gives up no memory", err)
	}
	for _, room := range bus.MemoryShed.Spec().Heard {
		freed, err := bus.MemoryShed.To(room).Ask(ctx, s.bus(), bus.Shed{Pressure: level})
		if err != nil {
			s.complain(ctx, "room gives up no memory", err, "room", room)
			continue
		}
		s.freed(room, freed.Bytes)
		total += freed.Bytes
	}
	freed, err := s.shrink(ctx)
	if err != nil {
		s.complain(ctx, "database gives up no memory", err)
	}
	s.freed(database, freed)
	s.deps.Free()
	if level == bus.PressureNormal {
		s.dropProgram(ctx)
	} else {
		s.deps.Logger.Info("memory shed", "service", "governor", "level", level,
			"bytes", total+freed, "took", s.deps.Now().Sub(began).String())
	}
	s.mu.Lock()
	s.relieved = true
	s.mu.Unlock()
}

// dropProgram lets go of the program's own pages. Why that fails is logged when it
// changes: it is tried in every pause.
func (s *Service) dropProgram(ctx context.Context) {
	why := ""
	if err := s.deps.DropProgram(); err != nil {
		if why = err.Error(); why != s.pagesStay {
			s.complain(ctx, "program holds more memory than it needs", err)
		}
	}
	s.pagesStay = why
}

func (s *Service) complain(ctx context.Context, what string, err error, args ...any) {
	if ctx.Err() == nil && !bus.Nobody(err) { // a room that is starting again holds nothing
		s.deps.Logger.Warn(what, append(args, "service", "governor", "err", err)...)
	}
}

// freed counts what a room gave up.
func (s *Service) freed(room string, bytes int64) {
	if bytes > 0 {
		s.shedBytes.WithLabelValues(room).Add(float64(bytes))
	}
}

// shrink empties the database's caches.
func (s *Service) shrink(ctx context.Context) (freed int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, shrinkTime)
	defer cancel()
	return s.deps.Store.Shrink(ctx)
}
