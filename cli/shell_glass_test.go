// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rivo/uniseg"
)

// glass is a small terminal: what the shell writes becomes a picture that a test can
// look at. It knows the sequences that the shell uses, and refuses others.
type glass struct {
	t             *testing.T
	columns, rows int
	cells         [][]string // a wide character has an empty cell after it
	row, col      int        // col may be columns: the next character wraps
}

func newGlass(t *testing.T, columns, rows int) *glass {
	g := &glass{t: t, columns: columns, rows: rows}
	g.erase(0, 0)
	return g
}

func (g *glass) pane(u ui) *pane {
	return &pane{w: g, u: u, size: func() (int, int) { return g.columns, g.rows }}
}

// erase empties the screen from a cell on.
func (g *glass) erase(row, col int) {
	for len(g.cells) < g.rows {
		g.cells = append(g.cells, make([]string, g.columns))
	}
	for r := row; r < g.rows; r++ {
		for c := range g.cells[r] {
			if r > row || c >= col {
				g.cells[r][c] = ""
			}
		}
	}
}

func (g *glass) Write(data []byte) (int, error) {
	for s, state := string(data), -1; s != ""; {
		if rest, ok := strings.CutPrefix(s, "\x1b["); ok {
			end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
			g.sequence(rest[:end], rest[end])
			s, state = rest[end+1:], -1
			continue
		}
		var cluster string
		var width int
		cluster, s, width, state = uniseg.FirstGraphemeClusterInString(s, state)
		for _, part := range []string{"\r", "\n", "\t"} { // "\r\n" is one cluster
			if strings.Contains(cluster, part) {
				g.control(part)
				cluster = strings.Replace(cluster, part, "", 1)
			}
		}
		if cluster != "" {
			g.show(cluster, width)
		}
	}
	return len(data), nil
}

func (g *glass) control(s string) {
	switch s {
	case "\r":
		g.col = 0
		return
	case "\t":
		g.col = min((g.col/8+1)*8, g.columns-1)
		return
	}
	if g.row++; g.row == g.rows {
		g.cells = append(g.cells[1:], make([]string, g.columns))
		g.row--
	}
}

func (g *glass) show(cluster string, width int) {
	if g.col+width > g.columns {
		g.control("\r")
		g.control("\n")
	}
	g.cells[g.row][g.col] = cluster
	for i := 1; i < width; i++ {
		g.cells[g.row][g.col+i] = ""
	}
	g.col += max(width, 1)
}

func (g *glass) sequence(argument string, final byte) {
	n := 1
	_, _ = fmt.Sscanf(argument, "%d", &n) // 1 without a number
	switch final {
	case 'A':
		g.row = max(0, g.row-n)
	case 'C':
		g.col = min(g.columns-1, g.col+n)
	case 'H':
		g.row, g.col = 0, 0
	case 'J':
		if argument == "2" {
			g.erase(0, 0)
		} else {
			g.erase(g.row, g.col)
		}
	case 'K':
		for c := g.col; c < g.columns; c++ {
			g.cells[g.row][c] = ""
		}
	case 'm', 'h', 'l':
	default:
		g.t.Errorf("unknown sequence ESC [ %s %c", argument, final)
	}
}

// String is the picture, without what is empty at the right and at the bottom.
func (g *glass) String() string {
	var lines []string
	for _, row := range g.cells {
		var b strings.Builder
		for c := 0; c < len(row); {
			cell := row[c]
			if cell == "" {
				cell = " "
			}
			b.WriteString(cell)
			c += max(1, uniseg.StringWidth(cell))
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

func (g *glass) want(t *testing.T, lines ...string) {
	t.Helper()
	if got, want := g.String(), strings.Join(lines, "\n"); got != want {
		t.Errorf("the screen shows\n%s\nwant\n%s", got, want)
	}
}
