// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// stroke is what a key means to the line editor.
type stroke int

const (
	strokeNone  stroke = iota // a key without a meaning here
	strokeText                // text to insert
	strokePaste               // text that was pasted, line breaks and all
	strokeEnter
	strokeBreak // Alt-Enter: a line break in the message
	strokeTab
	strokeInterrupt // Ctrl-C
	strokeEOF       // Ctrl-D
	strokeLeft
	strokeRight
	strokeUp
	strokeDown
	strokeWordLeft
	strokeWordRight
	strokeHome
	strokeEnd
	strokeBack
	strokeDelete
	strokeKillWord  // Ctrl-W
	strokeKillStart // Ctrl-U
	strokeKillEnd   // Ctrl-K
	strokeClear     // Ctrl-L
)

// key is one keystroke or one paste.
type key struct {
	stroke stroke
	text   string // of strokeText and strokePaste
	cut    bool   // the paste was longer than maxInput
}

// controls are the keys that arrive as a single byte.
var controls = map[byte]stroke{
	0x01: strokeHome, 0x02: strokeLeft, 0x03: strokeInterrupt, 0x04: strokeEOF, 0x05: strokeEnd, 0x06: strokeRight,
	0x08: strokeBack, 0x09: strokeTab, 0x0a: strokeEnter, 0x0b: strokeKillEnd, 0x0c: strokeClear, 0x0d: strokeEnter,
	0x0e: strokeDown, 0x10: strokeUp, 0x15: strokeKillStart, 0x17: strokeKillWord, 0x7f: strokeBack,
}

// sequences are the keys that arrive as an escape character and this.
var sequences = map[string]stroke{
	"[A": strokeUp, "[B": strokeDown, "[C": strokeRight, "[D": strokeLeft, "[H": strokeHome, "[F": strokeEnd,
	"OA": strokeUp, "OB": strokeDown, "OC": strokeRight, "OD": strokeLeft, "OH": strokeHome, "OF": strokeEnd,
	"[1~": strokeHome, "[7~": strokeHome, "[4~": strokeEnd, "[8~": strokeEnd, "[3~": strokeDelete,
	"[1;5C": strokeWordRight, "[1;3C": strokeWordRight, "[1;5D": strokeWordLeft, "[1;3D": strokeWordLeft,
	"b": strokeWordLeft, "f": strokeWordRight, "\x7f": strokeKillWord, "\r": strokeBreak, "\n": strokeBreak,
}

const (
	escape     = 0x1b
	pasteBegin = "[200~" // after the escape character
	pasteEnd   = "\x1b[201~"

	maxSequence = 32 // bytes of one key; longer is noise
)

// keyReader turns the bytes of a terminal into keys, however they are cut into reads.
// The zero value is ready.
type keyReader struct {
	rest    []byte // the beginning of a key that is not complete
	pasting bool
	pasted  []byte
	cut     bool
}

// read takes more bytes and returns the keys that are complete.
func (r *keyReader) read(data []byte) []key {
	r.rest = append(r.rest, data...)
	var keys []key
	for len(r.rest) > 0 {
		k, n := r.next(r.rest)
		if n == 0 {
			break
		}
		r.rest = r.rest[n:]
		if k.stroke != strokeNone {
			keys = appendKey(keys, k)
		}
	}
	r.rest = append([]byte(nil), r.rest...) // lets go of what was read
	return keys
}

// appendKey joins what is typed quickly, so that it is drawn once.
func appendKey(keys []key, k key) []key {
	if last := len(keys) - 1; last >= 0 && k.stroke == strokeText && keys[last].stroke == strokeText {
		keys[last].text += k.text
		return keys
	}
	return append(keys, k)
}

// idle is told when nothing more came for a moment: a lone escape was the key of
// that name and not the beginning of another.
func (r *keyReader) idle() {
	if !r.pasting {
		r.rest = nil
	}
}

// next decodes the key at the beginning of b and returns its length, 0 when it is
// not complete.
func (r *keyReader) next(b []byte) (key, int) {
	switch {
	case r.pasting:
		return r.paste(b)
	case b[0] == escape:
		return r.sequence(b)
	case b[0] < 0x20 || b[0] == 0x7f:
		return key{stroke: controls[b[0]]}, 1
	case !utf8.FullRune(b):
		return key{}, 0
	}
	c, n := utf8.DecodeRune(b)
	if text := clean(string(c)); text != "" && (c != utf8.RuneError || n > 1) {
		return key{stroke: strokeText, text: text}, n
	}
	return key{}, n
}

// sequence decodes what begins with an escape character.
func (r *keyReader) sequence(b []byte) (key, int) {
	n := sequenceLength(b)
	if n == 0 {
		return key{}, 0
	}
	body := string(b[1:n])
	if body == pasteBegin {
		r.pasting = true
		return key{}, n
	}
	return key{stroke: sequences[body]}, n
}

// sequenceLength is how many bytes of b are one escape sequence, 0 when its end is
// missing. ECMA-48 ends one that begins with "[" by a byte from "@" to "~".
func sequenceLength(b []byte) int {
	switch {
	case len(b) < 2:
		return 0
	case b[1] == escape:
		return 1 // the second one begins anew
	case b[1] == 'O':
		return min(len(b), 3) / 3 * 3
	case b[1] != '[':
		return 2
	}
	for i, c := range b[2:min(len(b), maxSequence)] {
		if c >= '@' && c <= '~' {
			return i + 3
		}
		if c < 0x20 {
			return i + 2 // cut off: this is another key
		}
	}
	if len(b) >= maxSequence {
		return maxSequence
	}
	return 0
}

// paste takes pasted text until its end. Terminals send carriage returns for line
// breaks. What exceeds the bound is read and dropped.
func (r *keyReader) paste(b []byte) (key, int) {
	n := bytes.Index(b, []byte(pasteEnd))
	if n < 0 {
		// The end itself may be cut in two: keep what could be its beginning.
		n = max(0, len(b)-len(pasteEnd)+1)
		r.keep(b[:n])
		return key{}, n
	}
	r.keep(b[:n])
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(string(r.pasted), ""))
	k := key{stroke: strokePaste, text: clean(text), cut: r.cut}
	r.pasting, r.pasted, r.cut = false, nil, false
	return k, n + len(pasteEnd)
}

func (r *keyReader) keep(b []byte) {
	room := maxInput - len(r.pasted)
	r.cut = r.cut || len(b) > room
	r.pasted = append(r.pasted, b[:min(len(b), room)]...)
}
