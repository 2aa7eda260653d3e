// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"strings"

	"github.com/blufio/blufio/bus"
)

// aheadPieces bounds the pieces that are kept until the one before them comes.
const aheadPieces = 256

// answer shows one answer while it is being made. Pieces are shown in their order;
// when one is missing, nothing more is until the answer begins anew or is complete.
type answer struct {
	pane *pane
	late bool // nobody listened when it began: it is shown from the first piece that comes

	attempt, round int
	next           int // number of the piece to show next
	ahead          map[int]string
	shown          strings.Builder // of this attempt and round, as it was said
}

// delta takes a piece.
func (a *answer) delta(d bus.Delta) {
	if a.late && a.attempt == 0 {
		a.attempt, a.round, a.next = d.Attempt, d.Round, d.N
		a.late = d.N > 0
	}
	switch {
	case d.Attempt < a.attempt, d.Attempt == a.attempt && d.Round < a.round:
		return // late, of what was given up
	case d.Attempt > a.attempt:
		a.anew(d, "(starting again)")
	case d.Round > a.round:
		a.anew(d, "(going on)")
	}
	if d.N < a.next || len(a.ahead) >= aheadPieces {
		return
	}
	if a.ahead == nil {
		a.ahead = map[int]string{}
	}
	a.ahead[d.N] = d.Text
	for text, ok := a.ahead[a.next]; ok; text, ok = a.ahead[a.next] {
		delete(a.ahead, a.next)
		a.next++
		a.show(text)
	}
}

func (a *answer) anew(d bus.Delta, why string) {
	if a.shown.Len() > 0 {
		a.pane.line(a.pane.u.dim(why))
	}
	a.attempt, a.round, a.next, a.ahead, a.late = d.Attempt, d.Round, 0, nil, false
	a.shown.Reset()
}

func (a *answer) show(text string) {
	said := text
	if strings.TrimSpace(a.shown.String()) == "" {
		said = strings.TrimLeft(text, " \n\t") // an answer begins with its first word
		if a.late && said != "" {
			said = a.pane.u.mark("…", "...") + said
		}
	}
	a.shown.WriteString(text)
	a.pane.text(clean(said))
}

// finish shows what the answer is in the end: what is missing of it or, if something
// else was shown, all of it.
func (a *answer) finish(r bus.MessageRecord) {
	u := a.pane.u
	if r.State != bus.StateAnswered {
		a.pane.line(failedText(u, r))
		return
	}
	shown, reply := strings.TrimSpace(a.shown.String()), strings.TrimSpace(r.Reply)
	switch rest, ok := strings.CutPrefix(reply, shown); {
	case shown == "":
		a.pane.text(clean(reply))
	case ok:
		if rest != "" { // white space at the end of what was shown is on the screen already
			all := strings.TrimLeft(a.shown.String(), " \n\t")
			rest = strings.TrimPrefix(rest, all[len(shown):])
		}
		a.pane.text(clean(rest))
	case a.late:
		a.pane.line(u.dim("(the whole answer)"))
		a.pane.text(clean(reply))
	default:
		a.pane.line(u.dim("(the answer in the end)"))
		a.pane.text(clean(reply))
	}
	a.pane.freshLine()
}

// failedText says why there is no answer.
func failedText(u ui, r bus.MessageRecord) string {
	if r.Error == bus.CodeCanceled {
		return u.dim("(stopped)")
	}
	reason := strings.TrimSpace(clean(r.Reply))
	if reason == "" {
		reason = "the message could not be answered (" + line(r.State) + ")"
	}
	text := u.bad() + " " + reason
	if hint := turnHint(r.Error); hint != "" {
		text += "\n" + u.yellow("hint:") + " " + hint
	}
	return text
}
