// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// keys is what the server holds of those who are not in the process.
type keys struct {
	device atomic.Pointer[Device]

	desk   atomic.Pointer[desk] // nil until there is a key that needs one
	mu     sync.Mutex
	leave  chan struct{}
	guard  sync.WaitGroup
	posted map[string]Key
	closed bool
}

// letIn lets the device and the process's own connections in.
func (s *Server) letIn() {
	s.ring.ns, s.ring.house, s.ring.edge = s.ns, s.accounts.house, s.accounts.edge
	s.keys.posted, s.keys.leave = map[string]Key{}, make(chan struct{})
	s.keys.device.Store(s.cfg.Device)
	s.ring.admit(s.house.PublicKey(), &holder{account: s.accounts.house, inProcess: true})
	s.ring.admit(s.room.PublicKey(), &holder{account: s.accounts.house, allowed: roomPermissions(), inProcess: true})
	s.ring.admit(s.watch.PublicKey(), &holder{account: s.accounts.watch, inProcess: true})
	s.ring.admit(s.edge.PublicKey(), &holder{account: s.accounts.edge, inProcess: true})
	if l := s.cfg.Leaf; l != nil {
		s.ring.admit(l.room.PublicKey(), &holder{account: s.accounts.leaf, allowed: l.permissions(), inProcess: true})
	}
	s.ring.names.Store(s.room.PublicKey(), "rooms")
	s.ring.names.Store(s.house.PublicKey(), "relay")
	s.ring.names.Store(s.watch.PublicKey(), "stream")
	s.ring.names.Store(s.edge.PublicKey(), "desk")
	s.admitDevice(s.cfg.Device)
	if o := s.cfg.Operator; o != nil {
		s.admitDevice(o)
		s.ring.names.Store(o.PublicKey(), "group")
	}
}

func (s *Server) admitDevice(d *Device) {
	s.ring.admit(d.PublicKey(), &holder{account: s.accounts.house, allowed: operatorPermissions(OperatorInbox)})
}

// AddKey lets a key in, at once. Nobody else notices.
func (s *Server) AddKey(k Key) error {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	if s.keys.closed {
		return fmt.Errorf("add key %q: %w", k.Name, errStopped)
	}
	h, err := s.ring.add(k)
	if err != nil {
		return err
	}
	if err := s.serve(h); err != nil {
		return errors.Join(err, s.ring.remove(k.Public))
	}
	return nil
}

// serve opens a post at the desk for the holder, if it needs one. s.keys.mu is held.
func (s *Server) serve(h *holder) error {
	if h.slot != nil {
		if err := s.openDesk(); err != nil {
			return err
		}
		if err := s.keys.desk.Load().post(h.key, h.slot); err != nil {
			return err
		}
	}
	s.keys.posted[h.key.Public] = h.key
	return nil
}

// serveFirst serves the keys that were let in before the server listened.
func (s *Server) serveFirst(holders []*holder) error {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	for _, h := range holders {
		if err := s.serve(h); err != nil {
			return err
		}
	}
	return nil
}

var errStopped = errors.New("the bus is stopping")

// openDesk makes the desk for the first key, and has it guarded. s.keys.mu is held.
func (s *Server) openDesk() error {
	if s.keys.desk.Load() != nil {
		return nil
	}
	d, err := newDesk(s)
	if err != nil {
		return err
	}
	s.keys.desk.Store(d)
	s.keys.guard.Go(func() { s.guard(s.keys.leave) })
	return nil
}

// RemoveKey shuts a key out and ends its connections, and no others. The error wraps
// [ErrUnknownKey] when it is not there.
func (s *Server) RemoveKey(public string) error {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	k, ok := s.keys.posted[public]
	if !ok {
		return fmt.Errorf("remove key: %w", ErrUnknownKey)
	}
	delete(s.keys.posted, public)
	if d := s.keys.desk.Load(); d != nil {
		d.withdraw(k)
	}
	return s.ring.remove(public)
}

// LastSeen is when the key last connected since it was added; zero if it has not.
func (s *Server) LastSeen(public string) time.Time { return s.ring.lastSeen(public) }

// Device returns the device key as it is now.
func (s *Server) Device() *Device { return s.keys.device.Load() }

// DeviceKey returns the private part of the device key as it is now. Ask for it at
// every signature: it may be replaced while the daemon runs.
func (s *Server) DeviceKey() ed25519.PrivateKey { return s.Device().Private() }

// ReplaceDevice makes d the device key. The one before gets on no more; its
// connections stay until RemoveRetired.
func (s *Server) ReplaceDevice(d *Device) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	s.ring.retire(s.Device().PublicKey())
	s.admitDevice(d)
	s.keys.device.Store(d)
}

// RemoveRetired ends the connections of device keys that were replaced.
func (s *Server) RemoveRetired() error {
	var errs []error
	for _, public := range s.ring.retired() {
		errs = append(errs, s.ring.remove(public))
	}
	return errors.Join(errs...)
}

// keyCalls is how many calls are under way with the key that has most. It does not wait
// for a key that is being let in.
func (s *Server) keyCalls() int {
	if d := s.keys.desk.Load(); d != nil {
		return d.busiest()
	}
	return 0
}

// noteDenial logs and counts what the desk refused, as the server does what it refuses.
func (s *Server) noteDenial(k Key, subject string) {
	s.log.refused(Denial{Reason: DeniedPermission, Key: k.Public, Subject: subject})
}

// NameOf is what people call the holder of a public key: "device", the name of a living
// key, or the key itself.
func (s *Server) NameOf(public string) string {
	if public == s.Device().PublicKey() {
		return "device"
	}
	if name := s.ring.name(public); name != "" {
		return name
	}
	return public
}

// KeyLeft makes the name of a key known that was shut out before the server started.
func (s *Server) KeyLeft(public, name string) {
	s.ring.mu.Lock()
	defer s.ring.mu.Unlock()
	s.ring.left(public, name)
}

// Who is what people call the one who was refused: "device", the name of a key, also of one
// that is out, or the key itself. A connection with a bad key only claims to have it, so
// it is not called by the name of one that gets on. It waits for nobody.
func (s *Server) Who(d Denial) string {
	if d.Reason != DeniedBadKey {
		if name := s.NameOf(d.Key); name != d.Key {
			return name
		}
	}
	return cmp.Or(s.ring.formerName(d.Key), d.Key)
}

func (s *Server) closeKeys() {
	s.keys.mu.Lock()
	desk, first := s.keys.desk.Load(), !s.keys.closed
	s.keys.closed = true
	s.keys.mu.Unlock()
	if !first {
		return
	}
	close(s.keys.leave)
	s.keys.guard.Wait() // it asks for names
	if desk != nil {
		desk.close()
	}
}
