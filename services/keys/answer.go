// SPDX-License-Identifier: MIT OR Apache-2.0

package keys

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// issue answers ctl.keys.issue: the key works when it returns.
func (s *Service) issue(ctx context.Context, q bus.KeyRequest) (bus.Key, error) {
	now := s.d.Now()
	r, err := s.make(q, now)
	if err != nil {
		return bus.Key{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.room(&r); err != nil {
		return bus.Key{}, err
	}
	if err := s.d.Bus.AddKey(r.Key); err != nil {
		return bus.Key{}, err
	}
	err = s.d.Store.Write(ctx, func(tx *sqlite.Tx) error {
		if err := r.insert(tx); err != nil {
			return err
		}
		return eventlog.Record(s.d.Events, tx, bus.KeyIssued, r.fact(now))
	})
	if err != nil {
		if out := s.d.Bus.RemoveKey(r.Public); out != nil {
			s.fail(out)
		}
		if sqlite.IsUnique(err) {
			return bus.Key{}, bus.Errorf(bus.CodeConflict, "this key was issued before").WithHint("make a new seed: a key that was revoked stays out")
		}
		return bus.Key{}, err
	}
	s.living[r.Public] = &r
	s.count.Store(int64(len(s.living)))
	s.look()
	return r.shown(), nil
}

// look has Run look at the ends anew.
func (s *Service) look() {
	select {
	case s.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

// waits ends the trouble if no other end waits to be stored. s.mu is held.
func (s *Service) waits() {
	for _, r := range s.living {
		if !r.ending.IsZero() || r.over(s.d.Now()) {
			return
		}
	}
	s.calm()
}

// room refuses one key too many, and a name that is taken. s.mu is held.
func (s *Service) room(r *record) error {
	for _, other := range s.living {
		if other.Name == r.Name {
			return bus.Errorf(bus.CodeConflict, "there is a key with the name %s", r.Name).WithHint("choose another name, or `blufio keys revoke %s` first", r.Name)
		}
	}
	if len(s.living) >= maxLiving {
		return bus.Errorf(bus.CodeBusy, "there are %d keys, and no more may be", maxLiving).WithHint("`blufio keys list` shows them; revoke those that are not seen any more")
	}
	return nil
}

// list answers ctl.keys.list.
func (s *Service) list(ctx context.Context, q bus.KeyQuery) (bus.Keys, error) {
	out := bus.Keys{Keys: []bus.Key{}, Limit: maxLiving}
	if q.All {
		dead, err := read(ctx, s.d.Store, `state <> 'living'`)
		if err != nil {
			return out, err
		}
		for _, r := range dead {
			out.Keys = append(out.Keys, r.shown())
		}
	}
	s.mu.Lock()
	for _, r := range s.living {
		k := *r
		k.seen = s.seen(r)
		out.Keys = append(out.Keys, k.shown())
	}
	s.mu.Unlock()
	slices.SortStableFunc(out.Keys, func(a, b bus.Key) int {
		if n := strings.Compare(a.Name, b.Name); n != 0 {
			return n
		}
		return a.Issued.Compare(b.Issued)
	})
	return out, nil
}

// revoke answers ctl.keys.revoke: the key is out when it returns.
func (s *Service) revoke(ctx context.Context, q bus.KeyRevocation) (bus.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.living {
		if r.Name != q.Key && r.Public != q.Key {
			continue
		}
		now := s.d.Now()
		if r.ending.IsZero() {
			r.ending = now
		}
		if err := s.end(ctx, r, bus.KeyRevoked, bus.KeyGone, r.ending); err != nil {
			s.later(now)
			s.fail(err)
			s.look()
			return bus.Key{}, bus.Errorf(bus.CodeUnavailable, "the key %s is shut out, but that could not be stored", r.Name).
				WithHint("it is tried again until it is; a restart before that would let the key in again: `blufio doctor` tells")
		}
		s.waits()
		return r.shown(), nil
	}
	return bus.Key{}, s.gone(ctx, q.Key)
}

// gone says that no living key has this name or public key, and what became of the last
// one that had it.
func (s *Service) gone(ctx context.Context, key string) error {
	dead, err := read(ctx, s.d.Store, `state <> 'living'`)
	if err != nil {
		return err
	}
	e := bus.Errorf(bus.CodeNotFound, "there is no living key %.80q", key)
	for _, r := range dead { // those of one name in the order of their issue
		switch {
		case r.Name != key && r.Public != key:
		case r.state == bus.KeyOver:
			e = bus.Errorf(bus.CodeNotFound, "the key %s has expired: it is out already", r.Name)
		default:
			e = bus.Errorf(bus.CodeNotFound, "the key %s was revoked before: it is out already", r.Name)
		}
	}
	return e.WithHint("`blufio keys list --all` shows what became of each")
}

// rotate answers ctl.keys.rotate: the new key is in its file and gets on.
func (s *Service) rotate(_ context.Context, _ bus.DeviceRotation) (bus.DeviceRotated, error) {
	old := s.d.Bus.Device().PublicKey()
	device, err := embedded.RotateDevice(s.d.DataDir)
	if err != nil {
		return bus.DeviceRotated{}, fmt.Errorf("rotate device key: %w", err)
	}
	if s.d.Replaced != nil {
		s.d.Replaced(device)
	}
	s.d.Bus.ReplaceDevice(device)
	s.d.Logger.Warn("the device key was replaced", "service", "keys", "old", old, "new", device.PublicKey())
	return bus.DeviceRotated{PublicKey: device.PublicKey(), Old: old}, nil
}

// rotated is called when the answer is on its way.
func (s *Service) rotated() {
	select {
	case s.old <- struct{}{}:
	default: // Run is about to look anyway
	}
}

// cutOff ends the connections of old device keys. A client whose connection ends in the
// moment in which an answer arrives may lose that, so they have a moment more.
func (s *Service) cutOff(ctx context.Context) {
	select {
	case <-s.d.After(grace):
	case <-ctx.Done():
	}
	if err := s.d.Bus.RemoveRetired(); err != nil {
		s.fail(err)
	}
}
