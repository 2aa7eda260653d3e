// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// backupMemory is by how much a backup may raise the daemon's resident set, in KiB.
const backupMemory = 16 << 10

// A backup takes no more than 16 MB of the daemon's memory, whoever writes it: the daemon on
// its schedule, with all that it does to verify it, or the command line, piece by piece. It is
// measured on the shipped binary, which answers and waits meanwhile as ever; SOAK_BACKUP_MB=1024
// has a database of 1 GB.
func TestBackupMemory(t *testing.T) {
	t.Parallel()
	size := number(t, "SOAK_BACKUP_MB", 32) << 20
	p := begun(t, 0, "")
	p.prose(t, size)
	for _, scheduled := range []bool{false, true} {
		t.Run(fmt.Sprintf("scheduled %v", scheduled), func(t *testing.T) {
			binary, every, env := build(t, shipped), "0s", []string(nil)
			if scheduled { // the same program, but in haste
				binary, every, env = build(t, armed), "1h", []string{"BLUFIO_HASTE=1"}
			}
			if err := os.WriteFile(p.config(), []byte(settings+"[backup]\nevery = \""+every+"\"\ndrill_every = \"0s\"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			d := start(t, p, binary, env...)
			d.awaitHealthy(t)
			quiet := settled(t, d.cmd.Process.Pid)
			most := sample(t, d.cmd.Process.Pid)
			if scheduled {
				until(t, "a backup is made and verified", 3*time.Minute, func() bool { return p.state(t, binary).LastVerified != nil })
			} else {
				p.run(t, binary, nil, "backup", filepath.Join(p.out(), "one")).want(t, 0, "")
			}
			peak := most()
			t.Logf("database %d MiB: resident %d KiB before and %d at most, +%d; anonymous %d and %d, +%d", size>>20, quiet.rss, peak.rss, peak.rss-quiet.rss, quiet.anon, peak.anon, peak.anon-quiet.anon)
			if peak.rss-quiet.rss > backupMemory && !raceEnabled {
				t.Errorf("it took %d KiB, %d are permitted", peak.rss-quiet.rss, backupMemory)
			}
			d.stop(t)
		})
	}
}

// state is how the backups stand.
func (p plan) state(t *testing.T, binary string) bus.BackupSummary {
	t.Helper()
	var listed struct {
		State bus.BackupSummary `json:"state"`
	}
	got := p.run(t, binary, nil, "backup", "list", "--json")
	if err := json.Unmarshal(got.out, &listed); err != nil {
		t.Fatalf("%v: %s%s", err, got.out, got.err)
	}
	if f := listed.State.LastFailure; f != nil {
		t.Fatalf("it failed: %+v\n%s", f, p.logTail())
	}
	return listed.State
}

// prose fills the database of a stopped daemon with about n bytes as daemons have them: short
// texts with an index, and pieces of files that do not compress.
func (p plan) prose(t *testing.T, n int) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: p.database(), CacheKiB: 16 << 10, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the of and to in is you that it he was for on are as with his they at be this have from or one had by word")
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	write := func(do func(tx *sqlite.Tx) error) {
		if err := store.Write(context.WithoutCancel(t.Context()), do); err != nil {
			t.Fatal(err)
		}
	}
	write(func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`CREATE TABLE bulk (id TEXT PRIMARY KEY, data BLOB)`)
		return err
	})
	for made, round := 0, 0; made < n; round++ {
		write(func(tx *sqlite.Tx) error {
			for i := range 500 {
				var text strings.Builder
				for text.Len() < 1000 {
					text.WriteString(words[random.IntN(len(words))] + " ")
				}
				if _, err := tx.Exec(`INSERT INTO bulk VALUES (?, ?)`, fmt.Sprintf("%08d-%d", round, i), text.String()); err != nil {
					return err
				}
				made += 1100
			}
			for i := range 4 {
				at := random.IntN(len(noise) / 2)
				if _, err := tx.Exec(`INSERT INTO bulk VALUES (?, ?)`, fmt.Sprintf("%08d-n%d", round, i), noise[at:at+32<<10]); err != nil {
					return err
				}
				made += 33 << 10
			}
			return nil
		})
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// resident is what a process has in memory, in KiB.
type resident struct{ rss, anon int }

func memoryOf(pid int) (r resident, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return r, err
	}
	field := func(name string) int {
		_, rest, _ := strings.Cut(string(text), "\n"+name+":")
		words := strings.Fields(rest)
		if len(words) == 0 {
			err = errors.Join(err, fmt.Errorf("no %s", name))
			return 0
		}
		n, numErr := strconv.Atoi(words[0])
		err = errors.Join(err, numErr)
		return n
	}
	return resident{field("VmRSS"), field("RssAnon")}, err
}

// settled waits until a process that was just started takes no more memory, and says how much.
func settled(t *testing.T, pid int) (r resident) {
	t.Helper()
	const long = time.Second
	since := time.Now()
	until(t, "its memory is settled", time.Minute, func() bool {
		now, err := memoryOf(pid)
		if err != nil {
			t.Fatal(err)
		}
		if now.rss > r.rss+256 {
			r, since = now, time.Now()
		}
		return time.Since(since) > long
	})
	return r
}

// sample looks every few milliseconds until the returned function is called, which says what
// was the most.
func sample(t *testing.T, pid int) (most func() resident) {
	t.Helper()
	stop, told := make(chan struct{}), make(chan resident)
	go func() {
		var most resident
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for {
			if now, err := memoryOf(pid); err == nil {
				most.rss, most.anon = max(most.rss, now.rss), max(most.anon, now.anon)
			}
			select {
			case <-tick.C:
			case <-stop:
				told <- most
				return
			}
		}
	}()
	return func() resident { close(stop); return <-told }
}
