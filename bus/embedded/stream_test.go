// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
)

func TestEventsSurviveARestart(t *testing.T) {
	dir, id := t.TempDir(), device(t)
	keepDir := func(c *Config) { c.Dir, c.Device = dir, id }
	s, e := startWithEvents(t, keepDir)
	mustPublish(t, e, Event{Subject: tick, ID: "a"})
	epoch := state(t, e).Epoch
	stop(t, s)

	_, e = startWithEvents(t, keepDir)
	if st := state(t, e); st.Epoch != epoch || st.Msgs != 1 {
		t.Errorf("state %+v, want epoch %s", st, epoch)
	}
	if ack := mustPublish(t, e, Event{Subject: tick, ID: "a"}); !ack.Duplicate {
		t.Errorf("stored twice: %+v", ack)
	}
}

func TestNewBoundsApplyToTheOldStream(t *testing.T) {
	dir := t.TempDir()
	s, e := startWithEvents(t, func(c *Config) { c.Dir = dir })
	mustPublish(t, e, Event{Subject: tick, ID: "a"})
	epoch := state(t, e).Epoch
	stop(t, s)
	_, e = startWithEvents(t, func(c *Config) { c.Dir, c.EventsMB, c.EventsDays = dir, 2, 3 })
	cfg := e.stream.Load().CachedInfo().Config
	if cfg.MaxBytes != 2<<20 || cfg.MaxAge.Hours() != 72 || state(t, e).Epoch != epoch {
		t.Errorf("%+v", cfg)
	}
}

// A stream of 1 MiB keeps the newest of 4 MiB.
func TestStreamIsBounded(t *testing.T) {
	_, e := startWithEvents(t, func(c *Config) { c.EventsMB = 1 })
	const count = 64
	for i := range count {
		mustPublish(t, e, Event{Subject: tick, ID: fmt.Sprint(i), Data: make([]byte, 64<<10)})
	}
	st := state(t, e)
	if st.Bytes > 1<<20 || st.Last != count || st.First < count/2 || st.Msgs != st.Last-st.First+1 {
		t.Errorf("state %+v", st)
	}
	if used := diskUse(t, e.server.cfg.Dir); used > e.server.cfg.storeBytes() {
		t.Errorf("%d bytes on disk", used)
	}
}

// Blocks are of 4 MiB, whatever the stream may keep, also after a restart and a kill:
// the server holds several of them in memory.
func TestBlocksAreSmall(t *testing.T) {
	const piece, most = 512 << 10, 4<<20 + 1<<20
	dir := t.TempDir()
	for round := range 3 {
		s, e := startWithEvents(t, func(c *Config) { c.Dir, c.EventsMB = dir, 64 })
		for i := range 24 {
			mustPublish(t, e, Event{Subject: tick, ID: fmt.Sprint(round, i), Data: make([]byte, piece)})
		}
		if cfg := e.stream.Load().CachedInfo().Config; cfg.MaxBytes != 64<<20 {
			t.Errorf("round %d: bounded at %d bytes", round, cfg.MaxBytes)
		}
		stop(t, s)
		blocks, err := filepath.Glob(filepath.Join(s.cfg.streamDir(), "msgs", "*.blk"))
		if err != nil || len(blocks) < 3*(round+1) {
			t.Fatalf("round %d: %v, %v", round, blocks, err)
		}
		for _, b := range blocks {
			if info, err := os.Stat(b); err != nil || info.Size() > most {
				t.Errorf("round %d: %v, %v", round, info.Size(), err)
			}
		}
	}
}

func diskUse(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestOpenEventsTwiceIsOne(t *testing.T) {
	s, e := startWithEvents(t, nil)
	mustPublish(t, e, Event{Subject: tick, ID: "a"})
	again, err := s.OpenEvents(deadline(t))
	if err != nil || again != e || state(t, e).Msgs != 1 {
		t.Errorf("%v, %v", again == e, err)
	}
}

// Recreating and reopening work live, again and again: reservations, consumers
// and answers to API requests do not pile up.
func TestRecreateLive(t *testing.T) {
	s, e := startWithEvents(t, nil)
	room := listen(t, house(t, s, "agent"), tick)
	observer := watch(t, s, "observer")
	epochs := map[string]bool{}
	for i := range 12 {
		if err := e.Recreate(deadline(t)); err != nil {
			t.Fatalf("recreate %d: %v", i, err)
		}
		if ack := mustPublish(t, e, Event{Subject: tick, ID: "same every time"}); ack.Seq != 1 || ack.Duplicate {
			t.Errorf("ack %+v", ack)
		}
		next(t, room)
		epochs[state(t, e).Epoch] = true

		if err := s.closeStream(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.OpenEvents(deadline(t)); err != nil {
			t.Fatalf("reopen %d: %v", i, err)
		}
		if st := state(t, e); st.Msgs != 1 {
			t.Errorf("after reopening: %+v", st)
		}
	}
	if len(epochs) != 12 {
		t.Errorf("%d epochs", len(epochs))
	}
	answers := listen(t, observer, "answers")
	if err := observer.PublishRequest("$JS.API.STREAM.INFO.EVENTS", "answers", nil); err != nil {
		t.Fatal(err)
	}
	next(t, answers)
	silent(t, answers, marker(t, observer))
}

// JetStream may close itself. It is opened again in the same process.
func TestOpenEventsAfterJetStreamClosedItself(t *testing.T) {
	if raceEnabled {
		t.Skip("nats-server 2.15 itself races: the API handler of the old JetStream reads an account while the new one sets its exports")
	}
	s, e := startWithEvents(t, nil)
	mustPublish(t, e, Event{Subject: tick, ID: "a"})
	for s.opened < maxOpened {
		if err := s.ns.ShutdownJetStream(); err != nil {
			t.Fatal(err)
		}
		if err := e.Err(); !errors.Is(err, ErrClosed) {
			t.Errorf("Err = %v", err)
		}
		if _, err := s.OpenEvents(deadline(t)); err != nil {
			t.Fatal(err)
		}
		if st := state(t, e); st.Msgs != 1 {
			t.Errorf("state %+v", st)
		}
	}
	if err := s.ns.ShutdownJetStream(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenEvents(deadline(t)); err == nil {
		t.Error("opened without end")
	}
	if house(t, s, "agent").Status() != nats.CONNECTED {
		t.Error("the bus has gone too")
	}
}

func TestOpenEventsNeedsADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file, filepath.Join(file, "below")} {
		s := start(t, func(c *Config) { c.Dir = dir })
		if _, err := s.OpenEvents(deadline(t)); err == nil {
			t.Errorf("%q: opened", dir)
		}
		house(t, s, "agent")
	}
}

// Whatever happens to the files, the stream opens and takes events.
func TestDamage(t *testing.T) {
	tests := map[string]struct {
		glob   string // below the stream's directory
		damage func(text []byte) []byte
		fresh  bool // the stream can only be begun anew
	}{
		"flipped bit in a block":     {"msgs/*.blk", flip(0.5), false},
		"flipped bit at the start":   {"msgs/*.blk", flip(0), false},
		"flipped bit at the end":     {"msgs/*.blk", flip(1), false},
		"truncated block":            {"msgs/*.blk", half, false},
		"empty block":                {"msgs/*.blk", empty, false},
		"noise for a block":          {"msgs/*.blk", noise, false},
		"flipped bit in the index":   {"msgs/index.db", flip(0.5), false},
		"empty index":                {"msgs/index.db", empty, false},
		"noise for the index":        {"msgs/index.db", noise, false},
		"flipped bit in meta.inf":    {"meta.inf", flip(0.5), true},
		"empty meta.inf":             {"meta.inf", empty, true},
		"noise for meta.inf":         {"meta.inf", noise, true},
		"no meta.inf":                {"meta.inf", nil, true},
		"flipped bit in the sum":     {"meta.sum", flip(0.5), true},
		"no sum":                     {"meta.sum", nil, true},
		"no blocks":                  {"msgs/*.blk", nil, false},
		"noise everywhere":           {"*", noise, true},
		"noise for all of the files": {"msgs/*", noise, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			keepDir := func(c *Config) { c.Dir = dir }
			s, e := startWithEvents(t, keepDir)
			for i := range 100 {
				mustPublish(t, e, Event{Subject: tick, ID: fmt.Sprint(i), Data: make([]byte, 1000)})
			}
			epoch := state(t, e).Epoch
			stop(t, s)
			damageFiles(t, filepath.Join(s.cfg.streamDir(), tt.glob), tt.damage)

			_, e = startWithEvents(t, keepDir)
			before := state(t, e)
			if tt.fresh && before.Epoch == epoch {
				t.Error("the epoch is the old one")
			}
			t.Logf("%d of 100 are left, %d to %d", before.Msgs, before.First, before.Last)
			ack := mustPublish(t, e, Event{Subject: tick, ID: "after"})
			if after := state(t, e); after.Last != ack.Seq || after.Msgs != before.Msgs+1 {
				t.Errorf("before %+v, after %+v", before, after)
			}
			if err := e.Recreate(deadline(t)); err != nil {
				t.Fatal(err)
			}
			if ack := mustPublish(t, e, Event{Subject: tick, ID: "after"}); ack.Seq != 1 {
				t.Errorf("ack %+v", ack)
			}
		})
	}
}

func damageFiles(t *testing.T, glob string, damage func([]byte) []byte) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file is %s: %v", glob, err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			continue
		}
		if damage == nil {
			err = os.Remove(file)
		} else {
			var text []byte
			if text, err = os.ReadFile(file); err == nil {
				err = os.WriteFile(file, damage(text), 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// flip inverts a bit at that part of the file.
func flip(part float64) func([]byte) []byte {
	return func(text []byte) []byte {
		text[int(part*float64(len(text)-1))] ^= 1 << 3
		return text
	}
}

func half(text []byte) []byte { return text[:len(text)/2] }
func empty([]byte) []byte     { return nil }

func noise(text []byte) []byte {
	for i := range text {
		text[i] = byte(i*i*31 + i*7 + 113)
	}
	return text
}
