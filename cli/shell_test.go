// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"golang.org/x/term"
)

// talk is a shell at a terminal, and the person before it.
type talk struct {
	*screen
	t    *testing.T
	main *os.File // what is typed
	tty  *os.File
	code chan int
}

// startTalk runs `blufio shell`; its history is in the directory that it returns.
func startTalk(t *testing.T, environ []string, args ...string) *talk {
	t.Helper()
	main, tty := openTerminal(t)
	k := &talk{screen: watchScreen(main), t: t, main: main, tty: tty, code: make(chan int, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.code <- Main(append([]string{"shell"}, args...), tty, tty, tty, append(environ, "TERM=xterm"))
	}()
	t.Cleanup(func() {
		_, _ = main.WriteString("\x03\x03\x04") // for a test that gave up in the middle
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the shell does not end")
		}
		main.Close()
	})
	k.see("Ctrl-D leaves")
	k.see(pastesOn)
	return k
}

func (k *talk) see(text string) { k.t.Helper(); k.wait(k.t, text) }

func (k *talk) press(keys string) {
	k.t.Helper()
	if _, err := k.main.WriteString(keys); err != nil {
		k.t.Fatal(err)
	}
}

// leave waits for the end and returns everything that was shown.
func (k *talk) leave(keys string) string {
	k.t.Helper()
	k.press(keys)
	select {
	case code := <-k.code:
		if code != 0 {
			k.t.Errorf("exit code %d", code)
		}
	case <-time.After(10 * time.Second):
		k.t.Fatalf("the shell did not end:\n%q", k)
	}
	k.see(pastesOff)
	return k.String()
}

// once returns a function for house.asked that closes the channel at the first call.
func (h *house) once() <-chan struct{} {
	looked := make(chan struct{})
	h.asked = func() { h.asked = func() {}; close(looked) }
	return looked
}

func (h *house) say(publish func(c *bus.Conn) error) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.check(publish(h.terminal))
}

func (h *house) delta(d bus.Delta) {
	h.t.Helper()
	h.say(func(c *bus.Conn) error { return bus.MessageDelta.To(terminalChannel).Publish(c, d) })
}

func (h *house) finish(id, reply string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer(id, bus.StateAnswered, reply)
}

func (h *house) messagesHanded() []bus.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]bus.Message(nil), h.handed...)
}

// untilHanded waits until that many messages were handed over, refused ones included.
func (h *house) untilHanded(n int) {
	h.t.Helper()
	bustest.Eventually(h.t, fmt.Sprintf("%d messages are handed over", n), func() bool { return len(h.messagesHanded()) >= n },
		func() any { return h.messagesHanded() })
}

// TestShellStreams: an answer is shown while it is made, and its end when it is there.
func TestShellStreams(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	looked := h.once()
	k := startTalk(t, h.environ())
	before, err := term.GetState(int(k.tty.Fd()))
	h.check(err)
	k.press("hello \\\rthere\r")
	<-looked
	h.delta(bus.Delta{MessageID: "m2", Owner: terminalOwner, Attempt: 1, Text: "not for us"})
	h.delta(piece(0, 0, "First words"))
	k.see("First words")
	h.finish("m1", "First words, then the last.")
	k.see(", then the last.")
	shown := k.leave("\x04")
	if strings.Contains(shown, "not for us") || strings.Count(shown, "First words") != 1 {
		t.Errorf("%q", shown)
	}
	if m := h.messagesHanded(); len(m) != 1 || m[0].Text != "hello \nthere" || m[0].Session != "main" || m[0].Channel != terminalChannel {
		t.Errorf("handed over %+v", m)
	}
	after, err := term.GetState(int(k.tty.Fd()))
	if err != nil || *after == *before {
		t.Error("the terminal is still in raw mode")
	}
}

// TestShellInterrupted: Ctrl-C gives the prompt back and does not end the shell; the
// answer, and others' of the session, are shown when they come.
func TestShellInterrupted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	looked := h.once()
	k := startTalk(t, h.environ())
	k.press("hello\rtyped too early\r")
	<-looked
	h.delta(piece(0, 0, "I will"))
	k.see("I will")
	k.press("\x03")
	k.see("I will")
	k.press("\x03")
	k.see("not waiting for it; /history shows what became of it")
	k.press("/session\r")
	k.see("this is session main")
	k.press("half a sentence")
	k.see("half a sentence")
	say := func(id, session, text string) {
		h.say(func(c *bus.Conn) error {
			return bus.TerminalReply.Publish(c, bus.Reply{MessageID: id, Owner: terminalOwner, Session: session, State: bus.StateAnswered, Text: text})
		})
	}
	say("m7", "other", "another session's")
	say("m1", "main", "It is\nlate \x1b[2J")
	say("m1", "main", "It is again")
	say("m8", "main", "from elsewhere")
	k.see("│ It is")
	k.see("│ late [2J")
	k.see("│ from elsewhere")
	k.press("\x03")
	shown := k.leave("/quit\r")
	for _, never := range []string{"another session's", "It is again", "typed too early"} {
		if strings.Contains(shown, never) {
			t.Errorf("%q is shown: %q", never, shown)
		}
	}
	if m := h.messagesHanded(); len(m) != 1 {
		t.Errorf("handed over %+v", m)
	}
}

// TestShellStops: Ctrl-C stops the answer and not the shell.
func TestShellStops(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	looked := h.once()
	h.stopped = func(id string) { h.fail(id, bus.CodeCanceled, "Stopped, as you asked.") }
	k := startTalk(t, h.environ())
	k.press("hello\r")
	<-looked
	h.delta(piece(0, 0, "I will"))
	k.see("I will")
	k.press("\x03")
	k.see("(stopped)")
	h.mu.Lock()
	h.reply = "an answer"
	h.mu.Unlock()
	k.press("again\r")
	k.see("an answer")
	k.leave("\x04")
	if len(h.canceled) != 1 || h.canceled[0] != "m1" {
		t.Errorf("canceled %v", h.canceled)
	}
}

// TestShellTypeAhead: what is typed and pasted while an answer comes is sent after it.
func TestShellTypeAhead(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.reply = "an answer"
	state := t.TempDir()
	k := startTalk(t, h.environ("XDG_STATE_HOME="+state), "--session", "work")
	k.press("one\rtwo\r\x1b[200~three\rfour\x1b[201~\r/ses\t main\r")
	k.see("session main")
	shown := k.leave("/se\t\t\x03\x04")
	var texts []string
	for _, m := range h.messagesHanded() {
		texts = append(texts, m.Session+":"+m.Text)
	}
	if got := strings.Join(texts, "|"); got != "work:one|work:two|work:three\nfour" {
		t.Errorf("handed over %q", got)
	}
	if n := strings.Count(shown, "an answer"); n != 3 {
		t.Errorf("%d answers in %q", n, shown)
	}
	data, err := os.ReadFile(filepath.Join(state, "blufio", "shell_history"))
	if err != nil || !strings.HasPrefix(string(data), "one\ntwo\nthree\\nfour\n/session") {
		t.Errorf("%q, %v", data, err)
	}
}

// TestShellOutlivesTheDaemon: it goes away while an answer is open and comes back on
// another port; what was typed in between is sent, once.
func TestShellOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	looked := h.once()
	k := startTalk(t, h.environ(), "--no-history")
	k.press("hello\r")
	<-looked
	h.stop()
	k.see("connection lost, trying again")
	h.mu.Lock()
	h.messages["m1"] = bus.MessageRecord{ID: "m1", State: bus.StateAnswered, Reply: "I am back"}
	h.reply = "and well"
	h.mu.Unlock()
	k.press("typed while down\r")
	k.see("waiting for the daemon")
	h.start()
	k.see("connected again")
	k.see("I am back")
	k.see("and well")
	k.leave("\x04")
	if m := h.messagesHanded(); len(m) != 2 || m[1].Text != "typed while down" {
		t.Errorf("handed over %+v", m)
	}
	if _, err := os.Stat(filepath.Join(h.dir, ".local")); err == nil {
		t.Error("--no-history leaves a file")
	}
}

// TestShellNeverTwice: what a busy agent refuses is the same message when it is handed
// over again, also by the person after Ctrl-C.
func TestShellNeverTwice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.refuse = []error{bus.Errorf(bus.CodeBusy, "busy"), bus.Errorf(bus.CodeBusy, "busy"), bus.Errorf(bus.CodeBusy, "busy")}
	h.reply = "at last"
	k := startTalk(t, h.environ())
	k.press("hello\r")
	h.untilHanded(2)
	k.press("\x03")
	k.see("it arrives once")
	k.press("\x1b[A\r")
	k.see("at last")
	k.press("hello\r")
	h.untilHanded(5)
	k.leave("\x04")
	m := h.messagesHanded()
	for _, one := range m[:4] {
		if one.ExternalID != m[0].ExternalID {
			t.Errorf("handed over as two: %+v", m)
		}
	}
	if m[4].ExternalID == m[0].ExternalID {
		t.Error("what is said twice on purpose is one message")
	}
}

// TestShellTells: what cannot be answered and what is refused is told, and the shell
// goes on.
func TestShellTells(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.refuse = []error{bus.Errorf(bus.CodeTooLarge, "too long").WithHint("send it in parts")}
	k := startTalk(t, h.environ("NO_COLOR=1"))
	k.press("hello\r")
	k.see("blufio: too long\r\nhint: send it in parts\r\n")
	looked := h.once()
	k.press("again\r")
	<-looked
	h.mu.Lock()
	h.answer("m1", bus.StateFailed, "the budget is spent")
	h.mu.Unlock()
	k.see("FAIL the budget is spent")
	k.press("/history nine\r")
	k.see("/history takes a number from 1 to 500")
	if shown := k.leave("\x04"); strings.Contains(shown, "\x1b[2m") || strings.Contains(shown, "\x1b[1m") {
		t.Errorf("coloured: %q", shown)
	}
}

// TestShellKeys: what keys do beside editing.
func TestShellKeys(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := startTalk(t, h.environ())
	k.press("\x03")
	k.see("\x1b[2mCtrl-D leaves")
	k.press("\x0c")
	k.see(eraseScreen)
	k.press("/\t")
	k.see("/cost  /help  /new  /status  /stop  /think  /history  /quit  /session  /sessions")
	k.press("\x15/h\x01\t\x05i\t\r") // not in the middle of a line; then there is one
	k.see("/history \r\n")
	k.see("…looking ") // nobody answers it in the house of this test
	k.press("\x03")
	k.see("\x1b[22m\r\x1b[K\x1b[1m")
	k.press("a\x1b[200~" + strings.Repeat("x", maxInput+1) + "\x1b[201~")
	k.see("at most 1.0 MiB; the rest was left out")
	k.press("\x03\r\r \r```\r```\r") // nothing of it is a message
	k.press("ab\x1b[D\x04\x04")      // Ctrl-D deletes where there is something
	k.see("a\r\x1b[3C")              // b is gone
	k.press("\x03")
	k.leave("\x04")
	if m := h.messagesHanded(); len(m) != 0 {
		t.Errorf("handed over %d messages", len(m))
	}
}

// TestShellWithoutDrawing: a terminal that knows no sequences has a plain prompt.
func TestShellWithoutDrawing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.reply = "an answer"
	main, tty := openTerminal(t)
	defer main.Close()
	k := &talk{screen: watchScreen(main), t: t, main: main}
	code := make(chan int)
	go func() { code <- Main([]string{"shell"}, tty, tty, tty, h.environ("TERM=dumb")) }()
	k.see("> ")
	k.press("one \\\n")
	k.see("\r\n  ")
	k.press("two\n")
	k.see("an answer\r\n> ")
	k.press("\x04")
	if got := <-code; got != 0 || strings.Contains(k.String(), "\x1b") {
		t.Errorf("code %d, %q", got, k)
	}
}

// TestShellEnds: a signal ends it, and without a daemon it does not begin.
func TestShellEnds(t *testing.T) {
	h := newHouse(t)
	k := startTalk(t, h.environ())
	tell(t, syscall.SIGTERM)
	k.leave("")
	h.stop()
	main, tty := openTerminal(t)
	defer main.Close()
	s := watchScreen(main)
	if code := Main([]string{"shell"}, tty, tty, tty, h.environ("TERM=xterm")); code != exitNotRunning {
		t.Errorf("exit code %d", code)
	}
	s.wait(t, "hint:")
}

// TestShellEndsWithItsTerminal: nobody stays behind when the window is closed.
func TestShellEndsWithItsTerminal(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	main, tty := openTerminal(t)
	code := make(chan int, 1)
	go func() { code <- Main([]string{"shell"}, tty, tty, tty, h.environ("TERM=xterm")) }()
	// Read here: a file is closed only when nobody reads it.
	for shown, buf := "", make([]byte, 1024); !strings.Contains(shown, pastesOn+"\x1b[2m"); {
		n, err := main.Read(buf)
		h.check(err)
		shown += string(buf[:n])
	}
	main.Close()
	select {
	case <-code:
	case <-time.After(10 * time.Second):
		t.Fatal("the shell outlives its terminal")
	}
}
