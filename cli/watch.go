// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// watchStatus shows the status every second until it is interrupted: in place on a
// terminal, block after block to a pipe, one JSON object a line with --json.
func (a *app) watchStatus(ctx context.Context) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	show := a.showBlock
	if screen, ok := a.stageFor(); ok {
		s := &stage{file: screen}
		if keys, ok := terminal(a.in); ok {
			var leave func()
			var err error
			if ctx, leave, err = untilQuit(ctx, keys); err != nil {
				return err
			}
			defer leave()
		}
		s.enter()
		defer s.exit()
		show = func(p picture, err error) error { return s.draw(a.block(p, err)) }
	}
	return a.watch(ctx, show)
}

// stageFor is the terminal to draw on in place. Nothing is drawn for those who want it
// plain, nor on a terminal that knows no sequences.
func (a *app) stageFor() (*os.File, bool) {
	f, ok := terminal(a.out)
	return f, ok && !a.json && !a.plain && a.getenv("TERM") != "dumb"
}

func (a *app) watch(ctx context.Context, show func(picture, error) error) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		p, err := a.picture(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := show(p, err); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// showBlock appends one picture to a pipe or a file.
func (a *app) showBlock(p picture, err error) error {
	if !a.json {
		return a.print(a.block(p, err) + "\n")
	}
	if err != nil {
		p.Status = bus.Status{Schema: bus.StatusSchema, State: bus.Degraded, Time: a.now(),
			Channels: []bus.Channel{}, Services: []bus.ServiceStatus{}}
		a.report(explain(err))
	}
	return a.printJSONLine(p.facts())
}

// block is the picture as text, also when there is none.
func (a *app) block(p picture, err error) string {
	u := a.ui(a.out)
	f := explain(err)
	switch {
	case err == nil && p.State == bus.Stopped && p.last == nil:
		f = p.reason
	case err == nil:
		return dashboard(u, p, a.now())
	}
	text := u.bad() + " " + line(f.Error()) + "\n"
	if f.hint != "" {
		text += u.yellow("hint:") + " " + line(f.hint) + "\n"
	}
	return text
}

// Sequences that every terminal since the VT100's heirs knows.
const (
	enterStage = "\x1b[?1049h\x1b[?25l\x1b[?7l" // the other screen, no cursor, no wrapping
	exitStage  = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	homeCursor = "\x1b[H"
	eraseRight = "\x1b[K"
	eraseBelow = "\x1b[J"
)

// stage is a terminal whose other screen is drawn on.
type stage struct{ file *os.File }

func (s *stage) enter() { _, _ = s.file.WriteString(enterStage) }
func (s *stage) exit()  { _, _ = s.file.WriteString(exitStage) }

// draw replaces what is shown, in one write so that nothing flickers. What does not
// fit is cut off, at the right and at the bottom.
func (s *stage) draw(text string) error {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if _, height, err := term.GetSize(int(s.file.Fd())); err == nil {
		lines = firstLines(lines, height)
	}
	frame := homeCursor + strings.Join(lines, eraseRight+"\r\n") + eraseRight + eraseBelow
	if _, err := s.file.WriteString(frame); err != nil {
		return fmt.Errorf("draw status: %w", err)
	}
	return nil
}

// firstLines are those that fit into a height; the last one tells how many do not.
func firstLines(lines []string, height int) []string {
	if height <= 0 || len(lines) <= height {
		return lines
	}
	more := plural(int64(len(lines)-height+1), "more line")
	return append(slices.Clone(lines[:height-1]), "… "+more)
}

// untilQuit returns a context that ends when q or Ctrl-C is typed. The terminal gives
// up its own handling of keys until leave is called.
func untilQuit(ctx context.Context, keys *os.File) (_ context.Context, leave func(), err error) {
	before, err := term.MakeRaw(int(keys.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("read keys: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		readQuit(ctx, keys)
	}()
	return ctx, func() {
		cancel()
		<-done
		_ = term.Restore(int(keys.Fd()), before) // nothing is left to do about it
	}, nil
}

const keyPoll = 100 // milliseconds

// readQuit returns when q or Ctrl-C is typed, the terminal is gone, or ctx ends. It
// looks before it reads, because a read of a terminal cannot be called off.
func readQuit(ctx context.Context, keys *os.File) {
	fds := []unix.PollFd{{Fd: int32(keys.Fd()), Events: unix.POLLIN}}
	typed := make([]byte, 16)
	for ctx.Err() == nil {
		n, err := unix.Poll(fds, keyPoll)
		if err != nil && err != unix.EINTR {
			return
		}
		if n <= 0 {
			continue
		}
		got, err := keys.Read(typed)
		if err != nil || strings.ContainsAny(string(typed[:got]), "qQ\x03\x04") {
			return
		}
	}
}
