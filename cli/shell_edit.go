// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"strings"

	"github.com/rivo/uniseg"
)

// maxTyped bounds the message being typed, in bytes; more is not taken. The agent's
// own bound is lower.
const maxTyped = maxInput

// editor is the text being typed and where the cursor stands in it. The cursor moves
// by what a person sees as one character (a grapheme cluster).
type editor struct {
	text string
	at   int // of the cursor, in bytes

	history *history
	back    int    // how many entries the shown one lies back; 0 is the text being typed
	draft   string // the text being typed, while an older one is shown
}

func (e *editor) set(text string) { e.text, e.at = text, len(text) }

// take ends the typing and returns the text.
func (e *editor) take() string {
	text := e.text
	e.set("")
	e.back, e.draft = 0, ""
	return text
}

// edit does what a key says to the text. Keys that are not about it do nothing.
func (e *editor) edit(k key) {
	switch k.stroke {
	case strokeText, strokePaste:
		e.insert(k.text)
	case strokeBreak:
		e.insert("\n")
	case strokeBack:
		e.remove(e.left(), e.at)
	case strokeDelete, strokeEOF:
		e.remove(e.at, e.right())
	case strokeKillWord:
		e.remove(e.wordLeft(), e.at)
	case strokeKillStart:
		e.remove(e.lineStart(), e.at)
	case strokeKillEnd:
		e.remove(e.at, e.lineEnd())
	default:
		e.move(k.stroke)
	}
}

func (e *editor) move(s stroke) {
	switch s {
	case strokeLeft:
		e.at = e.left()
	case strokeRight:
		e.at = e.right()
	case strokeWordLeft:
		e.at = e.wordLeft()
	case strokeWordRight:
		e.at = e.wordRight()
	case strokeHome:
		e.at = e.lineStart()
	case strokeEnd:
		e.at = e.lineEnd()
	case strokeUp:
		e.up()
	case strokeDown:
		e.down()
	}
}

func (e *editor) insert(s string) {
	if len(e.text)+len(s) > maxTyped {
		return
	}
	e.text = e.text[:e.at] + s + e.text[e.at:]
	e.at += len(s)
}

func (e *editor) remove(from, to int) {
	e.text = e.text[:from] + e.text[to:]
	e.at = from
}

// left is where the character before the cursor begins.
func (e *editor) left() int {
	start := e.lineStart() // clusters are counted from somewhere safe
	if start == e.at {
		return max(0, start-1)
	}
	last := start
	for at := start; at < e.at; at += clusterLength(e.text[at:]) {
		last = at
	}
	return last
}

// right is where the character under the cursor ends.
func (e *editor) right() int { return min(len(e.text), e.at+clusterLength(e.text[e.at:])) }

func clusterLength(s string) int {
	cluster, _, _, _ := uniseg.FirstGraphemeClusterInString(s, -1)
	return len(cluster)
}

func (e *editor) wordLeft() int {
	before := strings.TrimRight(e.text[:e.at], " \n\t")
	return strings.LastIndexAny(before, " \n\t") + 1
}

func (e *editor) wordRight() int {
	after := e.text[e.at:]
	word := strings.TrimLeft(after, " \n\t")
	if n := strings.IndexAny(word, " \n\t"); n >= 0 {
		return e.at + len(after) - len(word) + n
	}
	return len(e.text)
}

func (e *editor) lineStart() int { return strings.LastIndexByte(e.text[:e.at], '\n') + 1 }

func (e *editor) lineEnd() int {
	if n := strings.IndexByte(e.text[e.at:], '\n'); n >= 0 {
		return e.at + n
	}
	return len(e.text)
}

// up goes to the line above, and from the first one to the message before.
func (e *editor) up() {
	start := e.lineStart()
	if start == 0 {
		e.recall(e.back + 1)
		return
	}
	column := uniseg.GraphemeClusterCount(e.text[start:e.at])
	e.at = start - 1
	e.at = e.lineStart()
	e.forward(column)
}

// down goes to the line below, and from the last one to the message after.
func (e *editor) down() {
	end := e.lineEnd()
	if end == len(e.text) {
		e.recall(e.back - 1)
		return
	}
	column := uniseg.GraphemeClusterCount(e.text[e.lineStart():e.at])
	e.at = end + 1
	e.forward(column)
}

// forward goes n characters to the right, but not past the end of the line.
func (e *editor) forward(n int) {
	for end := e.lineEnd(); n > 0 && e.at < end; n-- {
		e.at = min(end, e.right())
	}
}

// recall shows the message that lies back, and at 0 again what was being typed.
func (e *editor) recall(back int) {
	if back < 0 || back > e.history.len() {
		return
	}
	if e.back == 0 {
		e.draft = e.text
	}
	e.back = back
	if back == 0 {
		e.set(e.draft)
		return
	}
	e.set(e.history.ago(back))
}
