// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"golang.org/x/sys/unix"
)

const (
	maxTypeAhead = 1024 // keys and pastes typed while an answer comes
	maxElsewhere = 32   // replies to others that wait until it is there
	maxSeen      = 256  // messages whose reply was shown
)

// shell is a conversation at a terminal. One goroutine owns all of it: it is told
// what others hear by functions that it runs one after another.
type shell struct {
	app     *app
	pane    *pane
	link    *link
	editor  *editor
	session string

	todo    chan func()   // bounded; who posts waits
	ended   chan struct{} // closed when nothing is taken from todo any more
	workers sync.WaitGroup

	task      *task               // what is waited for; nil: the person may type
	down      bool                // the daemon is not there
	typed     []key               // meanwhile
	pending   []bus.MessageRecord // what the agent still answers of before, after the task
	elsewhere []*elsewhere
	seen      []string     // ids of messages whose reply was shown, newest last
	names     []string     // of sessions, for Tab
	unsure    *bus.Message // handed over without a confirmation
	quit      bool
	err       error
}

// spawn runs fn beside the loop; it must end with the shell's context.
func (s *shell) spawn(fn func()) { s.workers.Go(fn) }

// post has the loop run fn. When the loop has ended, fn concerns nobody.
func (s *shell) post(fn func()) {
	select {
	case s.todo <- fn:
	case <-s.ended:
	}
}

func (s *shell) greet(problem error) {
	s.pane.put(pastesOn)
	sep := s.pane.u.mark(" · ", ", ")
	s.note("session " + s.session + sep + "/help shows the commands" + sep + "Ctrl-D leaves")
	if problem != nil {
		s.complain(problem)
	}
}

// run is the loop. It ends when the person leaves, the terminal is gone or ctx ends.
func (s *shell) run(ctx context.Context, keys <-chan []key, resized <-chan os.Signal) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	s.lookBack(ctx)
	for !s.quit && s.err == nil {
		s.goOn(ctx)
		s.replay(ctx)
		s.show()
		if err := s.pane.flush(); err != nil || s.quit {
			s.err = err
			break
		}
		var second <-chan time.Time // only a status tells the time
		if s.task != nil {
			second = tick.C
		}
		select {
		case typed, ok := <-keys:
			s.quit = !ok
			s.hear(typed)
		case fn := <-s.todo:
			fn()
		case <-second:
		case <-resized: // it is all drawn anew
		case <-ctx.Done():
			s.quit = true
		}
	}
	s.end()
	return s.err
}

// end gives up what is waited for and leaves the terminal as it was.
func (s *shell) end() {
	s.stopTask()
	s.pane.freshLine()
	s.pane.put(pastesOff)
	if err := s.pane.flush(); s.err == nil {
		s.err = err
	}
	close(s.ended)
}

// show draws the end of what is on the screen.
func (s *shell) show() {
	if s.task != nil {
		if text := s.task.status(s.down, s.app.now()); text != "" {
			s.pane.tell(text)
		}
		return
	}
	s.showElsewhere()
	s.pane.typing(s.prompt(), s.editor)
}

func (s *shell) prompt() string {
	mark := "> "
	if s.pane.u.rich {
		mark = "› "
	}
	if s.session == mainSession {
		return mark
	}
	return line(s.session) + " " + mark
}

// hear takes keys. Ctrl-D leaves what is waited for at once, unless something that was
// typed before it waits, too.
func (s *shell) hear(typed []key) {
	if s.task != nil && s.editor.text == "" && len(s.typed) == 0 && len(typed) > 0 && typed[0].stroke == strokeEOF {
		s.leaveShell()
		return
	}
	s.typed = append(s.typed, typed...)
}

// replay does what the keys say. While something is waited for, only Ctrl-C counts;
// the others wait, too.
func (s *shell) replay(ctx context.Context) {
	for s.task != nil {
		at := slices.IndexFunc(s.typed, func(k key) bool { return k.stroke == strokeInterrupt })
		if at < 0 {
			s.typed = s.typed[:min(len(s.typed), maxTypeAhead)]
			break
		}
		s.typed = s.typed[at+1:]
		s.interrupt(ctx)
	}
	for s.task == nil && !s.quit && len(s.typed) > 0 {
		k := s.typed[0]
		s.typed = s.typed[1:]
		s.press(ctx, k)
	}
}

// press does what one key says.
func (s *shell) press(ctx context.Context, k key) {
	e := s.editor
	if room := maxTyped - len(e.text); len(k.text) > room {
		k.text, k.cut = strings.ToValidUTF8(k.text[:room], ""), true
	}
	switch {
	case k.stroke == strokeEnter:
		s.enter(ctx)
	case k.stroke == strokeInterrupt && e.text == "":
		s.note("Ctrl-D leaves")
	case k.stroke == strokeInterrupt:
		e.take()
	case k.stroke == strokeEOF && e.text == "":
		s.quit = true
	case k.stroke == strokeTab:
		s.tab()
	case k.stroke == strokeClear:
		s.pane.wipe()
		s.pane.put(eraseScreen)
	default:
		e.edit(k)
	}
	if k.cut {
		s.note("a message has at most " + size(maxTyped) + "; the rest was left out")
	}
}

// enter sends what was typed, or goes on with it on the next line.
func (s *shell) enter(ctx context.Context) {
	text, whole := message(s.editor.text)
	if !whole {
		s.editor.set(text)
		return
	}
	typed := s.editor.take()
	if strings.TrimSpace(text) == "" {
		return
	}
	s.pane.typed(s.prompt(), typed)
	if err := s.editor.history.add(typed); err != nil {
		s.complain(err)
	}
	s.command(ctx, text)
}

// tab completes a command; when there are several, it shows them.
func (s *shell) tab() {
	e := s.editor
	if e.at != len(e.text) {
		return
	}
	found := complete(e.text, s.names)
	switch more := common(found); {
	case len(found) == 1:
		e.set(found[0] + " ")
	case len(more) > len(e.text):
		e.set(more)
	case len(found) > 1:
		s.note(strings.Join(found, "  "))
	}
}

// note says something that is no part of the conversation.
func (s *shell) note(text string) { s.pane.line(s.pane.u.dim(line(text))) }

// complain tells an error with what to do about it, as every command does.
func (s *shell) complain(err error) {
	f, u := explain(err), s.pane.u
	s.pane.line(u.red("blufio:") + " " + line(f.Error()))
	if f.hint != "" {
		s.pane.line(u.yellow("hint:") + " " + line(f.hint))
	}
}

// readKeys reads a terminal until ctx ends or it is gone. It looks before it reads,
// because a read of a terminal cannot be called off.
func readKeys(ctx context.Context, in *os.File, keys chan<- []key) {
	var r keyReader
	fds := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}}
	buf := make([]byte, 4096)
	for ctx.Err() == nil {
		n, err := unix.Poll(fds, keyPoll)
		if err != nil && err != unix.EINTR {
			return
		}
		if n <= 0 {
			r.idle()
			continue
		}
		got, err := in.Read(buf)
		if err != nil || got == 0 {
			return
		}
		if k := r.read(buf[:got]); len(k) > 0 {
			select {
			case keys <- k:
			case <-ctx.Done():
			}
		}
	}
}
