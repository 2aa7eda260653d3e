// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
	"golang.org/x/term"
)

const (
	doctorWidth = 80  // where the terminal does not say
	doctorWide  = 100 // lines longer than that are hard to read
	idWidth     = 13  // of a check
)

// ward shows findings as they come. For scripts it shows nothing before the end.
type ward struct {
	app     *app
	u       ui
	live    bool
	daemon  map[string]bool // checks that need one
	began   time.Time
	width   int
	expects int // findings
	seen    int
	waiting int // checks that a daemon would make
	err     error
}

func (a *app) newWard(c checkup, r bus.DoctorReport) *ward {
	s := &ward{app: a, u: a.ui(a.out), live: r.Mode == bus.DoctorLive, daemon: map[string]bool{}, began: time.Now(), width: doctorWidth}
	if f, ok := terminal(a.out); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			s.width = min(w, doctorWide)
		}
	}
	for _, check := range serve.Checks() {
		s.daemon[check.ID] = check.Daemon
		if c.makes(check) && !(r.Node != "" && check.Outside) {
			s.expects++
		}
	}
	s.progress()
	return s
}

// progress is the line that says how far it is, for a person who waits.
func (s *ward) progress() {
	if !s.app.json && s.app.ui(s.app.err).tty && s.seen < s.expects {
		_, _ = fmt.Fprintf(s.app.err, "\r%s\x1b[K", s.app.ui(s.app.err).dim(fmt.Sprintf("checking, %d of %d …", s.seen, s.expects)))
	}
}

// clear takes the progress away.
func (s *ward) clear() {
	if !s.app.json && s.app.ui(s.app.err).tty {
		_, _ = fmt.Fprint(s.app.err, "\r\x1b[K")
	}
}

func (s *ward) show(f bus.Finding) {
	s.seen++
	if s.app.json {
		return
	}
	if !s.live && f.Level == bus.LevelSkip && s.daemon[f.ID] {
		s.waiting++ // said once, at the end
		return
	}
	s.clear()
	s.err = errors.Join(s.err, s.app.print(s.finding(f)))
	s.progress()
}

// finding is one line for what is well, and more for what is not.
func (s *ward) finding(f bus.Finding) string {
	head := fmt.Sprintf("%s %s %s", s.mark(f.Level), s.u.dim(fmt.Sprintf("%-*s", idWidth, line(f.ID))), line(f.Title))
	seen := line(f.Seen)
	switch f.Level {
	case bus.LevelOK, bus.LevelSkip:
		return s.short(head, seen)
	case bus.LevelInfo:
		return head + "\n" + s.more("seen", seen)
	}
	return head + "\n" + s.more("seen", seen) + s.more("why", line(f.Why)) + s.more("fix", line(f.Fix)) + s.more("see", line(f.Ref))
}

func (s *ward) mark(level string) string {
	switch level {
	case bus.LevelOK:
		return s.u.ok()
	case bus.LevelInfo:
		return s.u.mark("i", "info")
	case bus.LevelWarn:
		return s.u.warn()
	case bus.LevelFail:
		return s.u.bad()
	}
	return s.u.mark(s.u.dim("-"), "skip")
}

// short puts what was seen behind the title, as much as there is room for.
func (s *ward) short(head, seen string) string {
	if room := s.width - visible(head) - 3; s.u.tty && visible(seen) > room {
		if room < 12 {
			return head + "\n"
		}
		seen = string([]rune(seen)[:room-1]) + "…"
	}
	if seen == "" {
		return head + "\n"
	}
	return head + s.u.dim(" ("+seen+")") + "\n"
}

// more is a labelled text below a finding's head, wrapped and indented.
func (s *ward) more(label, text string) string {
	if text == "" {
		return ""
	}
	const indent = "       "
	var b strings.Builder
	for i, l := range wrap(text, s.width-len(indent)-5) {
		name := ""
		if i == 0 {
			name = label
		}
		b.WriteString(indent + s.u.dim(fmt.Sprintf("%-5s", name)) + l + "\n")
	}
	return b.String()
}

// wrap cuts text into lines between its words.
func wrap(text string, width int) (lines []string) {
	current := ""
	for _, word := range strings.Fields(text) {
		switch {
		case current == "":
			current = word
		case visible(current)+1+visible(word) > width:
			lines, current = append(lines, current), word
		default:
			current += " " + word
		}
	}
	return append(lines, current)
}

// finish says how it all ended.
func (s *ward) finish(r bus.DoctorReport) error {
	if s.app.json {
		return s.app.printJSON(r)
	}
	s.clear()
	return errors.Join(s.err, s.app.print("\n"+s.summary(r)))
}

func (s *ward) summary(r bus.DoctorReport) string {
	count := map[string]int64{}
	for _, f := range r.Findings {
		count[f.Level]++
	}
	made := int64(len(r.Findings)) - count[bus.LevelSkip]
	took := fmt.Sprintf("%s in %.1f s", plural(made, "check"), time.Since(s.began).Seconds())
	skipped := ""
	if n := count[bus.LevelSkip]; n > 0 {
		skipped = fmt.Sprintf(", %d skipped", n)
	}
	var text string
	switch {
	case made == 0:
		text = s.u.off() + " nothing was checked"
	case r.Result == bus.LevelFail:
		text = s.u.bad() + " " + plural(count[bus.LevelFail], "failure")
		if n := count[bus.LevelWarn]; n > 0 {
			text += ", " + plural(n, "warning")
		}
	case r.Result == bus.LevelWarn:
		text = s.u.warn() + " " + plural(count[bus.LevelWarn], "warning")
	default:
		text = s.u.ok() + " all is well"
	}
	text += s.u.sep() + took + skipped + "\n"
	if s.waiting > 0 {
		need := "need"
		if s.waiting == 1 {
			need = "needs"
		}
		text += fmt.Sprintf("no daemon answers: %s %s one\n", plural(int64(s.waiting), "check"), need)
	}
	return text
}
