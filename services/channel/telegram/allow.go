// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/blufio/blufio/services/internal/denial"
)

const (
	tellEvery  = time.Hour // a refused person is told why
	maxRefused = 1000      // people who are remembered as told; more are refused without a word
)

// allowList knows who may talk to the bot, and who was told that they may not.
type allowList struct {
	now func() time.Time

	mu   sync.Mutex
	ids  []int64 // replaced, never written to
	told map[int64]time.Time
}

func newAllowList(ids []int64, now func() time.Time) *allowList {
	return &allowList{ids: ids, now: now, told: map[int64]time.Time{}}
}

// permits: someone on the list, or anyone in a group on the list, also under the id
// that it formerly had. Whoever speaks as a group or channel has no id of their own.
func (a *allowList) permits(m *message, formerly int64) bool {
	ids := a.list()
	if m.Chat.Type != "private" && (slices.Contains(ids, m.Chat.ID) || slices.Contains(ids, formerly)) {
		return true
	}
	return m.From != nil && m.SenderChat == nil && slices.Contains(ids, m.From.ID)
}

func (a *allowList) list() []int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ids
}

// replace lets others in. Who was told that they may not is told anew.
func (a *allowList) replace(ids []int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids = ids
	clear(a.told)
}

// Reconfigure prepares to go on with another list of who may talk; take does it, for
// the next message.
func (s *Service) Reconfigure(cfg Config) (take func(), err error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	ids := slices.Clone(cfg.Allow)
	return func() { s.allow.replace(ids) }, nil
}

func (s *Service) permits(m *message) bool {
	return s.allow.permits(m, cmp.Or(m.MigrateFrom, s.moved.formerly(m.Chat.ID)))
}

// noteMove notes that a group has another id: one on the list, or where somebody
// from the list has spoken. Other people's groups are nothing to remember.
func (s *Service) noteMove(ctx context.Context, m *message) error {
	old, now := m.Chat.ID, m.MigrateTo
	if m.MigrateFrom != 0 {
		old, now = m.MigrateFrom, m.Chat.ID
	}
	if old < 0 && s.permits(m) { // people keep their ids
		s.heard.add(strconv.FormatInt(old, 10))
	}
	if now == 0 || !s.heard.has(strconv.FormatInt(old, 10)) {
		return nil
	}
	return s.move(ctx, old, now)
}

// tell reports whether to tell this person now.
func (a *allowList) tell(id int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if at, ok := a.told[id]; ok && now.Sub(at) < tellEvery {
		return false
	}
	if len(a.told) >= maxRefused {
		for other, at := range a.told {
			if now.Sub(at) >= tellEvery {
				delete(a.told, other)
			}
		}
	}
	if len(a.told) >= maxRefused {
		return false
	}
	a.told[id] = now
	return true
}

func (a *allowList) size() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.told)
}

func stranger(id int64) string {
	return fmt.Sprintf("I do not know you, so I do not answer. If this is your bot, add your id to blufio.toml, then run `blufio config reload`:\n\n```toml\n[telegram]\nallow = [%d]\n```", id)
}

func (s *Service) denied() {
	s.metrics.denied.Inc()
	s.denials.Note(denial.Denial{Reason: "not_allowed"})
}

// tellDenials tells of refusals until ctx ends.
func (s *Service) tellDenials(ctx context.Context) error {
	s.denials.Run(ctx, s.log)
	return nil
}
