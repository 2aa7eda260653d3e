// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"compress/gzip"
	"context"
	"database/sql"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/sdnotify"
)

// manager is a socket like systemd's; it returns its address and what it hears, a
// datagram at a time.
func manager(t *testing.T) (address string, heard <-chan string) {
	t.Helper()
	address = filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	words := make(chan string, 1024)
	go func() {
		defer close(words)
		for buf := make([]byte, 4096); ; {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			words <- string(buf[:n])
		}
	}()
	t.Cleanup(func() {
		c.Close() //nolint:errcheck // it ends the reader
		for range words {
		}
	})
	return address, words
}

// hears waits for a word that has all of what is wanted in it.
func hears(t *testing.T, heard <-chan string, want ...string) string {
	t.Helper()
	end := time.After(20 * time.Second)
next:
	for {
		select {
		case got := <-heard:
			for _, w := range want {
				if !strings.Contains("\n"+got+"\n", w) {
					continue next
				}
			}
			return got
		case <-end:
			t.Fatalf("the service manager never hears %q", want)
		}
	}
}

func TestServiceManagerHears(t *testing.T) {
	address, heard := manager(t)
	cfg := Defaults()
	cfg.Gateway.Listen, cfg.Bus.Listen, cfg.Memory.LimitMB, cfg.Cost.DailyUSD = "127.0.0.1:0", "127.0.0.1:0", 2000, 2
	_, loaded, err := Load(config.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	hangup, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Config: cfg, Loaded: loaded, Sources: config.Sources{}, DataDir: t.TempDir() + "/data", Version: "test", Logger: bustest.Logger(t), Reload: hangup,
			Environ: []string{"NOTIFY_SOCKET=" + address, "WATCHDOG_USEC=2000000"}})
	}()
	hears(t, heard, "\nEXTEND_TIMEOUT_USEC=30000000\n", "\nSTATUS=opening the database\n")
	hears(t, heard, "\nREADY=1\n")
	for range 3 {
		hears(t, heard, "\nWATCHDOG=1\n")
	}
	hangup <- struct{}{}
	hears(t, heard, "\nRELOADING=1\nMONOTONIC_USEC=")
	hears(t, heard, "\nREADY=1\n")
	stop()
	hears(t, heard, "\nSTOPPING=1\n", "\nEXTEND_TIMEOUT_USEC=15000000\n")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// While a database of an earlier version is brought up to date, which something holds up,
// time is asked for again and again; and no longer when it is done.
func TestServiceManagerWaitsForTheMigration(t *testing.T) {
	o := Options{Config: Defaults(), DataDir: t.TempDir(), Version: "test", Logger: bustest.Logger(t), Now: time.Now}
	earlier(t, "1-messages", databasePath(o.DataDir))
	other, err := sql.Open("sqlite", databasePath(o.DataDir))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	holding, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holding.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	address, heard := manager(t)
	o.Environ = []string{"NOTIFY_SOCKET=" + address}
	s := o.newSupervisor()
	s.each = 10 * time.Millisecond
	ended := make(chan error, 1)
	go func() {
		ended <- s.opening("opening the database", func() error {
			store, err := openStore(t.Context(), o)
			if err != nil {
				return err
			}
			return store.Close()
		})
	}()
	for range 5 {
		hears(t, heard, "\nEXTEND_TIMEOUT_USEC=30000000\n", "\nSTATUS=opening the database\n")
	}
	select {
	case err := <-ended:
		t.Fatalf("the migration did not wait: %v", err)
	default:
	}
	if _, err := holding.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	s.tell("LAST=1") // and nothing comes behind it
	hears(t, heard, "\nLAST=1\n")
	select {
	case word := <-heard:
		t.Errorf("when it is done it says %q", word)
	default:
	}
}

// earlier lays out the database that an earlier version left.
func earlier(t *testing.T, name, path string) {
	t.Helper()
	f, err := os.Open("crashtest/testdata/databases/" + name + ".db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What is said each second is said when there is something new in it, and not sooner
// than it is needed.
func TestServiceManagerIsNotFlooded(t *testing.T) {
	address, heard := manager(t)
	to, err := sdnotify.New([]string{"NOTIFY_SOCKET=" + address, "WATCHDOG_USEC=30000000"})
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Unix(1000, 0)
	s := &supervisor{to: to, log: bustest.Logger(t), now: func() time.Time { return clock }}
	st := bus.Status{State: bus.Healthy, Sessions: &bus.SessionCounts{}, Memory: &bus.Memory{RSS: 50 << 20, Limit: 48 << 20, Used: 25}, Cost: &bus.CostStatus{}}
	limit := bus.USD(2)
	st.Cost.DailyLimit = &limit
	for i := range 60 {
		st.Sessions.Total, st.Sessions.Active = int64(i), i
		if i == 40 {
			st.State = bus.Degraded
		}
		s.beat(st, i < 45)
		clock = clock.Add(time.Second)
	}
	s.tell("LAST=1")
	var words, works []string
	for got := range heard {
		if strings.Contains(got, "LAST=1") {
			break
		}
		words = append(words, got)
		if strings.Contains(got, sdnotify.Working) {
			works = append(works, got)
		}
	}
	// At 0, 15 and 30 s, for from 45 s on nothing works; and once that it is degraded.
	if len(works) != 3 || len(words) > 6 {
		t.Errorf("%d times that it works, in %d words: %q", len(works), len(words), words)
	}
	if want := "STATUS=healthy: sessions 0 active of 0, memory 25 % taken (50 MiB), cost today $0.00 of $2.00"; !strings.HasSuffix(words[0], want) {
		t.Errorf("it begins with %q, want %q", words[0], want)
	}
	if !strings.Contains(strings.Join(words, "\n"), "STATUS=degraded: sessions 40 active of 40") {
		t.Errorf("that it is degraded is not told at once: %q", words)
	}
}
