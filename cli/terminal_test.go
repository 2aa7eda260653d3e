// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal: what main writes is typed, what it reads is shown.
func openTerminal(t *testing.T) (main, tty *os.File) {
	t.Helper()
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	n, err := unix.IoctlGetInt(int(main.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(main.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return main, tty
}

// screen collects what a terminal shows.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
	done chan struct{}
}

func watchScreen(main *os.File) *screen {
	s := &screen{more: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		buf := make([]byte, 4096)
		for {
			n, err := main.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.text.Write(buf[:n])
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
		}
	}()
	return s
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// wait waits until the screen has shown what.
func (s *screen) wait(t *testing.T, what string) {
	t.Helper()
	s.until(t, what, strings.Contains)
}

// until waits until what it has shown fits what.
func (s *screen) until(t *testing.T, what string, fits func(shown, what string) bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !fits(s.String(), what) {
		select {
		case <-s.more:
		case <-deadline:
			t.Fatalf("the screen never showed %q:\n%q", what, s)
		}
	}
}

func TestWatchOnATerminal(t *testing.T) {
	for name, key := range map[string]string{"q": "q", "Ctrl-C": "\x03"} {
		t.Run(name, func(t *testing.T) {
			house := newHouse(t)
			house.status = sick()
			main, tty := openTerminal(t)
			s := watchScreen(main)
			code := make(chan int)
			go func() {
				code <- Main([]string{"status", "--watch"}, tty, tty, tty, house.environ("TERM=xterm"))
			}()
			s.wait(t, "\x1b[?1049h")
			s.wait(t, "telegram")
			if _, err := main.WriteString(key); err != nil {
				t.Fatal(err)
			}
			if got := <-code; got != 0 {
				t.Errorf("exit code %d", got)
			}
			s.wait(t, "\x1b[?1049l")
			if strings.Contains(s.String(), "\x1b[2J") {
				t.Error("a channel's error reached the terminal as it was")
			}
			main.Close()
		})
	}
}

func TestRepliesAreCleanOnATerminal(t *testing.T) {
	house := newHouse(t)
	house.reply = "red \x1b[31malert\x07"
	main, tty := openTerminal(t)
	defer main.Close()
	s := watchScreen(main)
	if got := Main([]string{"send", "hello"}, tty, tty, tty, house.environ("TERM=xterm")); got != 0 {
		t.Errorf("exit code %d", got)
	}
	s.wait(t, "red [31malert")
}
