// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"strings"
	"syscall"
	"testing"

	"github.com/blufio/blufio/bus"
)

func TestSendAnswered(t *testing.T) {
	h := newHouse(t)
	h.reply = "with \x1b bytes\n"
	code, stdout, stderr := h.blufio("send", "what", "now")
	if code != 0 || stdout != "with \x1b bytes\n" || stderr != "" {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	m := h.handed[0]
	if m.Text != "what now" || m.Channel != "terminal" || m.Owner != "owner" || m.ExternalID == "" {
		t.Errorf("handed over %+v", m)
	}
}

// TestSendAgain: what a busy agent refuses is handed over again, as the same message.
func TestSendAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.reply = "at last"
	h.refuse = []error{bus.Errorf(bus.CodeBusy, "busy"), bus.Errorf(bus.CodeUnavailable, "starting")}
	if code, stdout, stderr := h.blufio("send", "hello"); code != 0 || stdout != "at last\n" || strings.Count(stderr, "trying again") != 1 {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if m := h.messagesHanded(); len(m) != 3 || m[0].ExternalID != m[2].ExternalID {
		t.Errorf("handed over %+v", m)
	}
}

func TestSendRefused(t *testing.T) {
	for _, c := range []struct {
		err  *bus.Error
		code int
		hint string
	}{
		{bus.Errorf(bus.CodeTooLarge, "too long").WithHint("send it in parts"), 1, "send it in parts"},
		{bus.Errorf(bus.CodeInvalid, "not a session name"), 64, ""},
		{bus.Errorf(bus.CodeDenied, "not for you"), 5, "this key does not permit it"},
	} {
		h := newHouse(t)
		h.refuse = []error{c.err}
		code, stdout, stderr := h.blufio("send", "hello")
		if code != c.code || stdout != "" || !strings.HasPrefix(stderr, "blufio: "+c.err.Message+"\n") || !strings.Contains(stderr, c.hint) {
			t.Errorf("%s: code %d, stdout %q, stderr %q", c.err.Code, code, stdout, stderr)
		}
	}
}

func TestSendFailed(t *testing.T) {
	for _, state := range []string{bus.StateFailed, bus.StateDead} {
		h := newHouse(t)
		h.asked = func() { h.asked = func() {}; h.answer("m1", state, "the budget is spent") }
		code, stdout, stderr := h.blufio("send", "hello")
		if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "blufio: the budget is spent\nhint: ") {
			t.Errorf("%s: code %d, stdout %q, stderr %q", state, code, stdout, stderr)
		}
		code, stdout, _ = h.blufio("message", "--json", "m1")
		if r := decodeAs[bus.MessageRecord](t, []byte(stdout)); code != 0 || r.State != state {
			t.Errorf("message: code %d, %+v", code, r)
		}
	}
}

func TestSendTimesOut(t *testing.T) {
	h := newHouse(t)
	code, stdout, stderr := h.blufio("send", "--timeout", "100ms", "hello")
	if code != 1 || stdout != "" || !strings.Contains(stderr, "no reply within 100ms; the message is stored") || !strings.Contains(stderr, "blufio message m1") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// TestSendInterrupted: Ctrl-C tells where the reply will be.
func TestSendInterrupted(t *testing.T) {
	h := newHouse(t)
	h.asked = func() {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
			t.Error(err)
		}
	}
	code, _, stderr := h.blufio("send", "hello")
	if code != exitInterrupted || !strings.Contains(stderr, "interrupted; the message is stored") || !strings.Contains(stderr, "blufio message m1") {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
}

// TestSendOutlivesTheDaemon: it stops while a message is open, comes back on another
// port, and the reply, said while nobody listened, still arrives.
func TestSendOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	looked := make(chan struct{})
	h.asked = func() { h.asked = func() {}; close(looked) }
	type result struct {
		code           int
		stdout, stderr string
	}
	done := make(chan result)
	go func() {
		code, stdout, stderr := h.blufio("send", "hello")
		done <- result{code, stdout, stderr}
	}()
	<-looked
	h.stop()
	h.mu.Lock()
	h.messages["m1"] = bus.MessageRecord{ID: "m1", State: bus.StateAnswered, Reply: "I am back"}
	h.mu.Unlock()
	h.start()
	if r := <-done; r.code != 0 || r.stdout != "I am back\n" {
		t.Errorf("%+v", r)
	}
}

// TestHintsOfTurns: what is said about a message that failed is about the message.
func TestHintsOfTurns(t *testing.T) {
	for code, want := range map[bus.Code]string{
		bus.CodeCanceled: "",
		bus.CodeDenied:   "check the key of the model's provider",
		bus.CodeBudget:   "cost.daily_usd",
		"":               "`blufio doctor` looks for what is wrong",

		bus.CodeUnavailable: "`blufio doctor --only BLF-LLM` asks",
		bus.CodeTimeout:     "`blufio doctor --only BLF-LLM`",
	} {
		a := &app{}
		f := explain(a.printReply(bus.MessageRecord{State: bus.StateFailed, Error: code, Reply: "no"}, nil))
		if !strings.Contains(f.hint, want) || want == "" && f.hint != "" {
			t.Errorf("%s: hint %q", code, f.hint)
		}
	}
}
