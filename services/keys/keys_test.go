// SPDX-License-Identifier: MIT OR Apache-2.0

package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// rig is the room on a bus, with a clock that the test sets.
type rig struct {
	t      *testing.T
	bus    *bustest.Bus
	store  *sqlite.Store
	events *eventlog.Log
	room   *Service
	stop   func()
	op     *bus.Conn

	mu    sync.Mutex
	now   time.Time
	ticks chan time.Time // ends the room's wait
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, bus: bustest.New(t), store: roomtest.Store(t, Schema), now: time.Now(), ticks: make(chan time.Time)}
	r.events = eventlog.New(r.store)
	r.start()
	r.op = r.bus.Operator(t, bus.KeyIssue, bus.KeyList, bus.KeyRevoke, bus.KeyRotateDevice)
	return r
}

func (r *rig) start() {
	r.t.Helper()
	r.room = New(Deps{Store: r.store, Events: r.events, Bus: r.bus.Server(), DataDir: r.bus.Dir(), Tools: []string{"recall"}, Logger: bustest.Logger(r.t),
		Now: r.clock, After: func(time.Duration) <-chan time.Time { return r.ticks }})
	r.stop = roomtest.Start(r.t, r.bus, r.room)
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// advance sets the clock and has the room look at it.
func (r *rig) advance(d time.Duration) {
	r.mu.Lock()
	r.now = r.now.Add(d)
	r.mu.Unlock()
	r.ticks <- time.Time{}
}

// seed is a key as its holder has it.
type seed struct{ nkeys.KeyPair }

func newSeed(t *testing.T) seed {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	return seed{pair}
}

func (s seed) public(t *testing.T) string {
	t.Helper()
	public, err := s.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func (r *rig) issue(q bus.KeyRequest) (seed, bus.Key, error) {
	r.t.Helper()
	s := newSeed(r.t)
	q.PublicKey = s.public(r.t)
	k, err := bus.KeyIssue.Ask(r.t.Context(), r.op, q)
	return s, k, err
}

func (r *rig) dial(s seed, k bus.Key, opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(r.bus.Server().URL(), append([]nats.Option{nats.Nkey(k.PublicKey, s.Sign), nats.CustomInboxPrefix(k.Inbox),
		nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, opts...)...)
}

// connect returns a connection and what tells of its end.
func (r *rig) connect(s seed, k bus.Key) <-chan struct{} {
	r.t.Helper()
	closed := make(chan struct{})
	nc, err := r.dial(s, k, nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return closed
}

func (r *rig) out(s seed, k bus.Key) {
	r.t.Helper()
	if nc, err := r.dial(s, k); err == nil {
		nc.Close()
		r.t.Errorf("%s is let in", k.Name)
	}
}

func (r *rig) list(all bool) []bus.Key {
	r.t.Helper()
	list, err := bus.KeyList.Ask(r.t.Context(), r.op, bus.KeyQuery{All: all})
	if err != nil {
		r.t.Fatal(err)
	}
	return list.Keys
}

// told are the subjects of the events that were written.
func (r *rig) told() string {
	r.t.Helper()
	rows, err := r.events.After(r.t.Context(), 0, 100)
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for _, row := range rows {
		names = append(names, strings.TrimPrefix(row.Subject, bus.Prefix))
	}
	return strings.Join(names, " ")
}

func TestKeyLivesAndIsRevoked(t *testing.T) {
	r := newRig(t)
	s, k, err := r.issue(bus.KeyRequest{Name: "dashboard", Role: bus.RoleObserver})
	if err != nil {
		t.Fatal(err)
	}
	if k.State != bus.KeyLives || k.Expires != nil || k.Inbox == "" || len(k.Publish) == 0 || len(k.Subscribe) != 2 {
		t.Errorf("issued %+v", k)
	}
	closed := r.connect(s, k)
	if list := r.list(false); len(list) != 1 || list[0].LastSeen == nil {
		t.Errorf("list %+v", list)
	}
	if _, _, err := r.issue(bus.KeyRequest{Name: "dashboard", Role: bus.RoleTool}); bus.CodeOf(err) != bus.CodeConflict {
		t.Errorf("the same name: %v", err)
	}
	if _, err := bus.KeyRevoke.Ask(t.Context(), r.op, bus.KeyRevocation{Key: k.PublicKey}); err != nil {
		t.Fatal(err)
	}
	<-closed
	r.out(s, k)
	if list := r.list(false); len(list) != 0 {
		t.Errorf("list %+v", list)
	}
	if list := r.list(true); len(list) != 1 || list[0].State != bus.KeyRevoked || list[0].Revoked == nil || list[0].LastSeen == nil {
		t.Errorf("list of all %+v", list)
	}
	if _, err := bus.KeyRevoke.Ask(t.Context(), r.op, bus.KeyRevocation{Key: "dashboard"}); bus.CodeOf(err) != bus.CodeNotFound {
		t.Errorf("revoked twice: %v", err)
	}
	again := bus.KeyRequest{Name: "dashboard", Role: bus.RoleObserver, PublicKey: k.PublicKey}
	if _, err := bus.KeyIssue.Ask(t.Context(), r.op, again); bus.CodeOf(err) != bus.CodeConflict {
		t.Errorf("let in again: %v", err)
	}
	r.out(s, k)
	if got := r.told(); got != "evt.key.issued evt.key.revoked" {
		t.Errorf("told %s", got)
	}
}

func TestKeyExpires(t *testing.T) {
	r := newRig(t)
	s, k, err := r.issue(bus.KeyRequest{Name: "short", Role: bus.RoleObserver, Seconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	_, lasting, err := r.issue(bus.KeyRequest{Name: "lasting", Role: bus.RoleObserver})
	if err != nil {
		t.Fatal(err)
	}
	closed := r.connect(s, k)
	r.advance(3599 * time.Second)
	select {
	case <-closed:
		t.Error("it ended before its time")
	default:
	}
	r.advance(time.Second)
	<-closed
	r.out(s, k)
	r.advance(0) // the look that ended it is over
	if list := r.list(true); len(list) != 2 || list[0].Name != lasting.Name || list[1].State != bus.KeyOver {
		t.Errorf("list %+v", list)
	}
	if _, err := bus.KeyRevoke.Ask(t.Context(), r.op, bus.KeyRevocation{Key: k.Name}); bus.CodeOf(err) != bus.CodeNotFound || !strings.Contains(err.Error(), "has expired") {
		t.Errorf("revoked when its time is over: %v", err)
	}
	if got := r.told(); !strings.HasSuffix(got, "evt.key.expired") {
		t.Errorf("told %s", got)
	}
	r.advance(91 * 24 * time.Hour)
	r.advance(0)
	if list := r.list(true); len(list) != 1 {
		t.Errorf("after 90 days: %+v", list)
	}
}

// A room that is started again, and a bus that is: living keys get on, others never.
func TestKeysOutliveARestart(t *testing.T) {
	r := newRig(t)
	kept, k, err := r.issue(bus.KeyRequest{Name: "kept", Role: bus.RoleObserver, AllowSub: []string{"evt.turn.*"}})
	if err != nil {
		t.Fatal(err)
	}
	gone, g, err := r.issue(bus.KeyRequest{Name: "gone", Role: bus.RoleOperator})
	if err != nil {
		t.Fatal(err)
	}
	over, o, err := r.issue(bus.KeyRequest{Name: "over", Role: bus.RoleObserver, Seconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	closed := r.connect(kept, k)
	if _, err := bus.KeyRevoke.Ask(t.Context(), r.op, bus.KeyRevocation{Key: "gone"}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.mu.Lock()
	r.now = r.now.Add(time.Minute)
	r.mu.Unlock()

	r.start()
	r.advance(0) // its first look is over
	r.out(gone, g)
	r.out(over, o)
	select {
	case <-closed:
		t.Error("the room's restart ended a connection")
	default:
	}

	living, err := Load(t.Context(), r.store, r.clock())
	if err != nil || len(living) != 1 || living[0].Inbox == "" {
		t.Fatalf("loaded %+v, %v", living, err)
	}
	device, err := embedded.LoadOrCreateDevice(t.TempDir() + "/data")
	if err != nil {
		t.Fatal(err)
	}
	second, err := embedded.Start(t.Context(), embedded.Config{Listen: "127.0.0.1:0", Device: device, Keys: living})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Shutdown(context.WithoutCancel(t.Context())) //nolint:errcheck // the test is over
	nc, err := nats.Connect(second.URL(), nats.Nkey(k.PublicKey, kept.Sign))
	if err != nil {
		t.Fatalf("after a restart: %v", err)
	}
	nc.Close()
	if nc, err := nats.Connect(second.URL(), nats.Nkey(g.PublicKey, gone.Sign)); err == nil {
		nc.Close()
		t.Error("the revoked key is let in after a restart")
	}
}

func TestAtMostSixtyFourKeys(t *testing.T) {
	r := newRig(t)
	for i := range maxLiving {
		if _, _, err := r.issue(bus.KeyRequest{Name: fmt.Sprintf("k%d", i), Role: bus.RoleObserver}); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := r.issue(bus.KeyRequest{Name: "one-more", Role: bus.RoleObserver})
	if bus.CodeOf(err) != bus.CodeBusy {
		t.Errorf("one more: %v", err)
	}
	door := r.room.Door()
	for i, want := range []float64{maxLiving, maxLiving} {
		if got := testutil.ToFloat64(door.Metrics[i]); got != want {
			t.Errorf("gauge %d is %v", i, got)
		}
	}
	if _, err := bus.KeyRevoke.Ask(t.Context(), r.op, bus.KeyRevocation{Key: "k7"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.issue(bus.KeyRequest{Name: "one-more", Role: bus.RoleObserver}); err != nil {
		t.Errorf("after one is gone: %v", err)
	}
}

// A list of all keys fits into a message, whatever they were issued for.
func TestListOfAllKeysFits(t *testing.T) {
	r := newRig(t)
	hears, err := json.Marshal(bus.FactsOf(bus.Facts)[:maxPatterns-1])
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UnixMilli()
	err = r.store.Write(t.Context(), func(tx *sqlite.Tx) error {
		for i := range maxDead + maxLiving {
			state := bus.KeyRevoked
			if i < maxLiving {
				state = bus.KeyLives
			}
			_, err := tx.Exec(`INSERT INTO bus_keys (public, name, role, allow_sub, allow_pub, inbox, state, issued_at, expires_at, ended_at, seen_at)
				VALUES (?, ?, 'explicit', ?, '["blufio.v1.>"]', ?, ?, ?, ?, ?, ?)`,
				fmt.Sprintf("U%055d", i), fmt.Sprintf("%060d", i), string(hears), fmt.Sprintf("%026d", i), state, at, at+3600_000, at, at)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := read(t.Context(), r.store, `true`)
	if err != nil {
		t.Fatal(err)
	}
	var list bus.Keys
	for _, k := range all {
		list.Keys = append(list.Keys, k.shown())
	}
	if data, err := json.Marshal(list); err != nil || len(data) > 1<<20 {
		t.Errorf("%d keys are %d bytes, %v", len(all), len(data), err)
	}
	if got := len(r.list(true)); got != maxDead {
		t.Errorf("%d keys are listed", got)
	}
}

// Status and metrics do not wait for a database that hangs while a key is revoked.
func TestStatusDoesNotWaitForTheDatabase(t *testing.T) {
	r := newRig(t)
	if _, _, err := r.issue(bus.KeyRequest{Name: "watcher", Role: bus.RoleObserver}); err != nil {
		t.Fatal(err)
	}
	hangs, goes := make(chan struct{}), make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		_ = r.store.Write(t.Context(), func(*sqlite.Tx) error { close(hangs); <-goes; return nil })
	})
	<-hangs
	work.Go(func() {
		if _, err := bus.KeyRevoke.Ask(t.Context(), r.op, bus.KeyRevocation{Key: "watcher"}); err != nil {
			t.Error(err)
		}
	})
	bustest.Eventually(t, "the revocation waits", func() bool {
		free := r.room.mu.TryLock()
		if free {
			r.room.mu.Unlock()
		}
		return !free
	})
	told := make(chan struct{})
	go func() {
		defer close(told)
		door := r.room.Door()
		door.Health()
		testutil.ToFloat64(door.Metrics[0])
	}()
	select {
	case <-told:
	case <-time.After(2 * time.Second):
		t.Error("they wait")
	}
	close(goes)
	work.Wait()
	<-told
}

// A key whose time is over and whose end cannot be stored is tried again, not all the
// time, and the trouble is over when that succeeds.
func TestExpiryThatCannotBeStored(t *testing.T) {
	r := newRig(t)
	if _, _, err := r.issue(bus.KeyRequest{Name: "watcher", Role: bus.RoleObserver, Seconds: 60}); err != nil {
		t.Fatal(err)
	}
	exec := func(statement string) {
		if err := r.store.Write(t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(statement); return err }); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TRIGGER full BEFORE UPDATE ON bus_keys BEGIN SELECT RAISE(ABORT, 'no space'); END`)
	r.advance(2 * time.Minute)
	r.advance(0) // the first look is over
	if p := r.room.health(); len(p) != 1 {
		t.Errorf("problems %+v", p)
	}
	if wait := r.room.untilNext(r.clock()); wait < again {
		t.Errorf("it is tried again after %s", wait)
	}
	exec(`DROP TRIGGER full`)
	r.advance(again)
	r.advance(0)
	if p := r.room.health(); len(p) != 0 {
		t.Errorf("problems %+v", p)
	}
}

// The caller, whose connection was made with the old key, hears of the new one; then
// that connection ends. Other keys stay.
func TestDeviceKeyIsRotated(t *testing.T) {
	r := newRig(t)
	s, k, err := r.issue(bus.KeyRequest{Name: "stays", Role: bus.RoleObserver})
	if err != nil {
		t.Fatal(err)
	}
	stays := r.connect(s, k)
	old := r.bus.Device()
	ended := make(chan struct{})
	nc, err := nats.Connect(r.bus.Server().URL(), old.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	op := bus.NewConn(nc, bus.Options{Name: "cli", Says: []bus.Lane{bus.KeyRotateDevice}, Logger: bustest.Logger(t)})
	go func() { <-op.Closed(); close(ended) }()
	got, err := bus.KeyRotateDevice.Ask(t.Context(), op, bus.DeviceRotation{})
	if err != nil {
		t.Fatal(err)
	}
	for out := false; !out; { // the room waits a moment, by its clock
		select {
		case r.ticks <- time.Time{}:
		case <-ended:
			out = true
		}
	}
	device, err := embedded.LoadDevice(r.bus.Dir())
	if err != nil {
		t.Fatal(err)
	}
	server := r.bus.Server()
	if device.PublicKey() != got.PublicKey || got.Old != old.PublicKey() || server.Device().PublicKey() != got.PublicKey {
		t.Errorf("rotated %+v, the file has %s", got, device)
	}
	if !server.DeviceKey().Equal(device.Private()) {
		t.Error("the gateway would sign with another key")
	}
	if nc, err := nats.Connect(server.URL(), old.NATSOption()); err == nil {
		nc.Close()
		t.Error("the old key is let in")
	}
	nc, err = nats.Connect(server.URL(), device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox))
	if err != nil {
		t.Fatalf("the new key: %v", err)
	}
	nc.Close()
	select {
	case <-stays:
		t.Error("another key's connection ended")
	default:
	}
	if info, err := os.Stat(filepath.Join(r.bus.Dir(), "device.nk")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(filepath.Join(r.bus.Dir(), ".device-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Nothing is changed when the new key cannot be written.
func TestRotationThatFails(t *testing.T) {
	r := newRig(t)
	old := r.bus.Device().PublicKey()
	if err := os.Remove(filepath.Join(r.bus.Dir(), "device.nk")); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.RotateDevice(r.bus.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
	if _, err := bus.KeyRotateDevice.Ask(t.Context(), r.op, bus.DeviceRotation{}); bus.CodeOf(err) != bus.CodeInternal {
		t.Errorf("err = %v", err)
	}
	if got := r.bus.Server().Device().PublicKey(); got != old {
		t.Errorf("the device key is %s", got)
	}
	r.list(false) // the connection is still there
}

// An end that could not be stored is stored when it can be, without anybody's asking
// again, and a room that was started again does not let the key in.
func TestRevocationIsStoredLater(t *testing.T) {
	r := newRig(t)
	s, k, err := r.issue(bus.KeyRequest{Name: "watcher", Role: bus.RoleObserver})
	if err != nil {
		t.Fatal(err)
	}
	exec := func(statement string) {
		if err := r.store.Write(t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(statement); return err }); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TRIGGER full BEFORE UPDATE ON bus_keys BEGIN SELECT RAISE(ABORT, 'no space'); END`)
	if _, err := bus.KeyRevoke.Ask(t.Context(), r.op, bus.KeyRevocation{Key: "watcher"}); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Fatalf("err = %v", err)
	}
	at := r.clock()
	for range 3 {
		r.advance(10 * time.Second)
	}
	r.advance(0) // the third look is over
	if wait := r.room.untilNext(r.clock()); wait < 2*again || wait > longest {
		t.Errorf("it is tried again after %s", wait)
	}
	if all := r.list(false); len(all) != 1 || all[0].State != bus.KeyRevoked || all[0].Revoked == nil || !all[0].Revoked.Equal(at) {
		t.Errorf("%+v", all)
	}
	r.stop()
	r.stop = roomtest.Start(t, r.bus, r.room)
	r.out(s, k)
	if p := r.room.health(); len(p) != 1 || !strings.Contains(p[0].Hint, "tried again") || strings.HasPrefix(p[0].Hint, "restart") {
		t.Errorf("problems %+v", p)
	}
	exec(`DROP TRIGGER full`)
	r.advance(longest)
	r.advance(0)
	if p := r.room.health(); len(p) != 0 {
		t.Errorf("problems %+v", p)
	}
	if all := r.list(true); len(all) != 1 || all[0].State != bus.KeyRevoked || !all[0].Revoked.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("%+v", all)
	}
	if told := r.told(); told != "evt.key.issued evt.key.revoked" {
		t.Errorf("told %s", told)
	}
}

// A key whose end cannot be stored is out all the same, and status says so until it is.
func TestRevocationThatCannotBeStored(t *testing.T) {
	r := newRig(t)
	s, k, err := r.issue(bus.KeyRequest{Name: "watcher", Role: bus.RoleObserver})
	if err != nil {
		t.Fatal(err)
	}
	closed := r.connect(s, k)
	breakTable := func(statement string) {
		if err := r.store.Write(t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(statement); return err }); err != nil {
			t.Fatal(err)
		}
	}
	breakTable(`CREATE TRIGGER full BEFORE UPDATE ON bus_keys BEGIN SELECT RAISE(ABORT, 'no space'); END`)
	if _, err := bus.KeyRevoke.Ask(t.Context(), r.op, bus.KeyRevocation{Key: "watcher"}); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Errorf("err = %v", err)
	}
	<-closed
	r.out(s, k)
	if p := r.room.health(); len(p) != 1 || p[0].Hint == "" {
		t.Errorf("problems %+v", p)
	}
	breakTable(`DROP TRIGGER full`)
	if _, err := bus.KeyRevoke.Ask(t.Context(), r.op, bus.KeyRevocation{Key: "watcher"}); err != nil {
		t.Errorf("again: %v", err)
	}
	if p := r.room.health(); len(p) != 0 {
		t.Errorf("problems %+v", p)
	}
}
