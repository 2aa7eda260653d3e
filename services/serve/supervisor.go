// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sdnotify"
)

const (
	statusEvery = 15 * time.Second // while nothing but numbers changes
	openingMore = 30 * time.Second // asked for, again and again, while the first hook runs and the database is opened
	openingEach = openingMore / 3
	openingMost = 15 * time.Minute // for which that goes on; the unit waits as long
	stoppingTop = 7 * time.Second  // what a stop may take on top of the drain: the bus has 5 s
)

// supervisor is systemd, or whatever else started the daemon and wants to hear how it
// is. It hears by itself nothing that the daemon has not tried: see [supervisor.beat].
type supervisor struct {
	to   sdnotify.Notifier
	log  *slog.Logger
	now  func() time.Time
	each time.Duration // between two requests for more time

	mu     sync.Mutex
	mute   bool      // it could not be reached; said once
	state  string    // that it was told of last
	line   string    // the whole of it
	told   time.Time // when
	worked time.Time // when it was last told that all works
}

// newSupervisor finds out by the environment who is to be told.
func (o Options) newSupervisor() *supervisor {
	to, err := sdnotify.New(o.Environ)
	if err != nil {
		o.Logger.Warn("the service manager is told nothing", "err", err)
	}
	return &supervisor{to: to, log: o.Logger, now: o.Now, each: openingEach}
}

func (s *supervisor) tell(words ...string) {
	if !s.to.Heard() {
		return
	}
	err := s.to.Tell(words...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && !s.mute {
		s.log.Warn("the service manager does not hear", "err", err)
	}
	s.mute = err != nil
}

// opening does what may take long before the daemon is up, and has systemd wait.
func (s *supervisor) opening(what string, do func() error) error {
	if !s.to.Heard() {
		return do()
	}
	done, asking := make(chan struct{}), sync.WaitGroup{}
	asking.Go(func() {
		tick := time.NewTicker(s.each)
		defer tick.Stop()
		for range openingMost / openingEach {
			s.tell(sdnotify.Longer(openingMore), sdnotify.Status(what))
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	defer asking.Wait()
	defer close(done)
	return do()
}

// ready says that everything is up.
func (s *supervisor) ready() { s.tell(sdnotify.Ready) }

// stopping says that the daemon ends, and how long that may take.
func (s *supervisor) stopping(drain time.Duration) {
	s.tell(sdnotify.Stopping, sdnotify.Status("stopping"), sdnotify.Longer(drain+stoppingTop))
}

// reloading says that the configuration is read again; call what it returns at the end.
func (s *supervisor) reloading() (done func()) {
	s.tell(sdnotify.Reloading())
	return s.ready
}

// beat hears once a second how the daemon is. That it works is passed on twice within
// the time in which it is expected, and only when the bus has carried a question and its answer and the
// database has taken a write: whatever hangs in between ends in silence, and silence
// in a restart.
func (s *supervisor) beat(st bus.Status, works bool) {
	if !s.to.Heard() {
		return
	}
	var words []string
	now := s.now()
	s.mu.Lock()
	// Half of the time is over, or will be at the next beat.
	if every := s.to.Watchdog(); works && every > 0 && now.Sub(s.worked) > every/2-time.Second {
		words, s.worked = append(words, sdnotify.Working), now
	}
	if line := inOneLine(st); line != s.line && (st.State != s.state || now.Sub(s.told) >= statusEvery) {
		words = append(words, sdnotify.Status(line))
		s.state, s.line, s.told = st.State, line, now
	}
	s.mu.Unlock()
	if len(words) > 0 {
		s.tell(words...)
	}
}

// inOneLine is a status as systemctl shows it.
func inOneLine(st bus.Status) string {
	parts := []string{}
	if s := st.Sessions; s != nil {
		parts = append(parts, fmt.Sprintf("sessions %d active of %d", s.Active, s.Total))
	}
	if m := st.Memory; m != nil {
		parts = append(parts, fmt.Sprintf("memory %d %% taken (%d MiB)", m.Used, m.RSS>>20))
	}
	if c := st.Cost; c != nil {
		cost := "cost today " + c.Today.String()
		if c.DailyLimit != nil {
			cost += " of " + c.DailyLimit.String()
		}
		parts = append(parts, cost)
	}
	if len(parts) == 0 {
		return st.State
	}
	return st.State + ": " + strings.Join(parts, ", ")
}
