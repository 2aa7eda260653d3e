// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"os"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"golang.org/x/term"
)

// promptHidden asks for a secret on a terminal, where it is not shown, and says how
// long it was: a paste that went wrong is seen by that.
func (a *app) promptHidden(tty *os.File, name string) (string, error) {
	// Raw, because a cooked terminal cuts a line at 4096 bytes, and because Ctrl-C
	// then is a key and cannot leave the terminal without its echo. Before the question,
	// because people and programs type as soon as they see it.
	before, err := term.MakeRaw(int(tty.Fd()))
	if err != nil {
		return "", fmt.Errorf("hide what is typed: %w", err)
	}
	_, _ = fmt.Fprintf(a.err, "%s (it is not shown): ", line(name))
	text, err := readHidden(tty)
	if back := term.Restore(int(tty.Fd()), before); back != nil && err == nil {
		err = fmt.Errorf("restore the terminal: %w", back)
	}
	if err != nil {
		a.note("")
		return "", err
	}
	a.note("(%s)", plural(int64(utf8.RuneCount(text)), "character"))
	return string(text), nil
}

// Keys of a raw terminal.
const (
	keyInterrupt = 0x03
	keyEnd       = 0x04
	keyBackspace = 0x08
	keyKill      = 0x15
	keyDelete    = 0x7f
)

// readHidden reads to the end of the line.
func readHidden(tty *os.File) (text []byte, err error) {
	buf := make([]byte, 1)
	for {
		if n, err := tty.Read(buf); err != nil || n == 0 {
			return nil, fail(exitFailed, "", "nothing was changed: the terminal is gone")
		}
		switch c := buf[0]; c {
		case '\r', '\n', keyEnd:
			return text, nil
		case keyInterrupt:
			return nil, fail(exitInterrupted, "", "nothing was changed")
		case keyBackspace, keyDelete:
			_, size := utf8.DecodeLastRune(text)
			text = text[:len(text)-size]
		case keyKill:
			text = text[:0]
		default:
			if text = append(text, c); len(text) > bus.MaxSecretBytes {
				return text, nil // it is told what is wrong
			}
		}
	}
}
