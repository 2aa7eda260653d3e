// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/rivo/uniseg"
)

// Sequences beside those of watch.go.
const (
	eraseLine   = "\r\x1b[K"
	eraseScreen = "\x1b[H\x1b[2J"
	pastesOn    = "\x1b[?2004h" // pasted text comes in brackets
	pastesOff   = "\x1b[?2004l"
)

const tabWidth = 4 // columns of a tab in the message being typed

// pane is the shell's part of a terminal in raw mode: text that scrolls away, and at
// its end either the message being typed or a line that tells what is going on. It
// wraps what is typed by itself, so that it knows where the cursor is.
type pane struct {
	w    io.Writer
	u    ui
	size func() (columns, rows int)
	out  strings.Builder // not yet written: what changes together is written at once
	err  error           // of the first write that failed

	inLine bool // the text does not end with a line break
	flow   flow // how its last line goes on
	status bool // the last line is a status
	drawn  *drawn
}

// drawn is the message as it stands on the screen.
type drawn struct {
	widths   []int // of its rows
	row, col int   // of the cursor
}

func (p *pane) put(s string) { p.out.WriteString(s) }

// flush writes what has been drawn since the last time.
func (p *pane) flush() error {
	if p.err == nil && p.out.Len() > 0 {
		if _, err := io.WriteString(p.w, p.out.String()); err != nil {
			p.err = fmt.Errorf("write to the terminal: %w", err)
		}
	}
	p.out.Reset()
	return p.err
}

// text appends to what scrolls away; the cursor stays at its end.
func (p *pane) text(s string) {
	if s == "" {
		return
	}
	p.wipe()
	if !p.inLine {
		p.flow = flow{}
	}
	columns, _ := p.size()
	p.put(p.flow.wrap(s, columns))
	p.inLine = !strings.HasSuffix(s, "\n")
}

// line appends text on lines of its own.
func (p *pane) line(s string) {
	p.freshLine()
	p.text(strings.TrimRight(s, "\n") + "\n")
}

// freshLine makes sure that what follows begins on a new line.
func (p *pane) freshLine() {
	p.wipe()
	if p.inLine {
		p.put("\r\n")
		p.inLine = false
	}
}

// tell shows what is going on, until something else is shown. In the middle of a line
// there is no place for it.
func (p *pane) tell(s string) {
	if p.inLine || p.drawn != nil {
		return
	}
	columns, _ := p.size()
	p.put(eraseLine + p.u.dim(truncate(s, columns-1)))
	p.status = true
}

// wipe takes the status or the message being typed from the screen.
func (p *pane) wipe() {
	switch {
	case p.drawn != nil:
		columns, _ := p.size()
		p.put(p.drawn.toTop(columns) + eraseBelow)
		p.drawn = nil
	case p.status:
		p.put(eraseLine)
	}
	p.status = false
}

// toTop leads from the cursor to the beginning of the first row. When the terminal
// has become narrower since, it has broken rows in two, and there are more to go up.
func (d *drawn) toTop(columns int) string {
	up := d.col / max(columns, 1)
	for _, w := range d.widths[:d.row] {
		up += max(1, (w+columns-1)/max(columns, 1))
	}
	return upwards(up) + "\r"
}

func upwards(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA", n)
}

// typing draws the message being typed after the prompt. One that is higher than the
// screen is shown around the cursor only.
func (p *pane) typing(prompt string, e *editor) {
	p.freshLine()
	columns, height := p.size()
	rows, row, col := layout(prompt, e.text, e.at, columns)
	first := window(len(rows), row, max(height-1, 1))
	shown := rows[first:min(len(rows), first+max(height-1, 1))]
	d := &drawn{row: row - first, col: col}
	for _, r := range shown {
		d.widths = append(d.widths, uniseg.StringWidth(r))
	}
	out := strings.Join(p.painted(prompt, shown, first), "\r\n") + "\r" + upwards(len(shown)-1-d.row)
	if col > 0 {
		out += fmt.Sprintf("\x1b[%dC", col)
	}
	p.put(out)
	p.drawn = d
}

// typed leaves a message that was sent on the screen, all of it.
func (p *pane) typed(prompt, text string) {
	p.freshLine()
	columns, _ := p.size()
	rows, _, _ := layout(prompt, text, 0, columns)
	p.put(strings.Join(p.painted(prompt, rows, 0), "\r\n") + "\r\n")
}

// painted colours the prompt in the first row, if it is there.
func (p *pane) painted(prompt string, rows []string, first int) []string {
	if rest, ok := strings.CutPrefix(rows[0], prompt); ok && first == 0 {
		return append([]string{p.u.bold(p.u.green(prompt)) + rest}, rows[1:]...)
	}
	return rows
}

// window is the first of the rows to show so that row is among them.
func window(rows, row, height int) int {
	return max(0, min(row-height/2, rows-height))
}

// layout breaks prompt and text into rows of at most columns, and finds the row and
// column of the byte at in text. Lines after the first are indented like it.
func layout(prompt, text string, at, columns int) (rows []string, row, col int) {
	columns = max(columns, tabWidth)
	indent := uniseg.StringWidth(prompt)
	if indent > columns/2 {
		prompt, indent = "", 0 // no room
	}
	current, width := []byte(prompt), indent
	breakRow := func(indent int) {
		rows = append(rows, string(current))
		current, width = []byte(strings.Repeat(" ", indent)), indent
	}
	for i, state := 0, -1; i <= len(text); {
		cluster, _, w, next := uniseg.FirstGraphemeClusterInString(text[i:], state)
		shown := cluster
		if cluster == "\t" {
			shown, w = strings.Repeat(" ", tabWidth), tabWidth
		}
		if cluster != "\n" && width+max(w, 1) > columns { // at the end: the cursor needs a place, too
			breakRow(0)
		}
		if i == at {
			row, col = len(rows), min(width, columns-1)
		}
		if cluster == "" {
			break
		}
		if cluster == "\n" {
			breakRow(indent)
		} else {
			current, width = append(current, shown...), width+w
		}
		i, state = i+len(cluster), next
	}
	return append(rows, string(current)), row, col
}

// truncate cuts s to what fits into columns.
func truncate(s string, columns int) string {
	width := 0
	for i, state, rest := 0, -1, s; rest != ""; {
		var cluster string
		var w int
		cluster, rest, w, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if width += w; width > columns {
			return s[:i]
		}
		i += len(cluster)
	}
	return s
}
