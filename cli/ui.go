// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fatih/color"
	"golang.org/x/term"
)

// ui knows how to write for one stream: with colour and symbols for a person at a
// terminal, plain for everything else.
type ui struct {
	rich bool // colour and symbols
	tty  bool // a terminal, whatever the taste in colours
}

// ui decides for the stream w.
func (a *app) ui(w io.Writer) ui {
	_, tty := terminal(w)
	rich := tty && !a.plain && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
	return ui{rich: rich, tty: tty}
}

// terminal returns the file behind a stream when it is a terminal.
func terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

func (u ui) paint(s string, attributes ...color.Attribute) string {
	if !u.rich || s == "" {
		return s
	}
	c := color.New(attributes...)
	c.EnableColor() // this stream is a terminal, whatever standard output is
	return c.Sprint(s)
}

func (u ui) green(s string) string  { return u.paint(s, color.FgGreen) }
func (u ui) red(s string) string    { return u.paint(s, color.FgRed) }
func (u ui) yellow(s string) string { return u.paint(s, color.FgYellow) }
func (u ui) bold(s string) string   { return u.paint(s, color.Bold) }
func (u ui) dim(s string) string    { return u.paint(s, color.Faint) }

// ok, warn and bad are the marks before a line. All plain ones are four wide.
func (u ui) ok() string   { return u.mark(u.green("✔"), "ok  ") }
func (u ui) warn() string { return u.mark(u.yellow("!"), "warn") }
func (u ui) bad() string  { return u.mark(u.red("✘"), "FAIL") }
func (u ui) off() string  { return u.mark(u.dim("-"), "off ") }

func (u ui) mark(rich, plain string) string {
	if u.rich {
		return rich
	}
	return plain
}

// sep stands between facts on one line.
func (u ui) sep() string { return u.mark(u.dim(" · "), ", ") }

const barWidth = 20 // characters between the ends of a bar

// bar draws used of limit, yellow from 80 % and red from 95 %. Without a limit there
// is nothing to draw.
func (u ui) bar(used, limit int64) string {
	paint := u.green
	switch share := float64(used) / float64(limit); {
	case share >= 0.95:
		paint = u.red
	case share >= 0.80:
		paint = u.yellow
	}
	return u.filled(used, limit, paint)
}

// progress draws done of total: a bar for which more is good.
func (u ui) progress(done, total int64) string { return u.filled(done, total, u.green) }

func (u ui) filled(used, limit int64, paint func(string) string) string {
	if limit <= 0 {
		return ""
	}
	share := min(max(float64(used)/float64(limit), 0), 1)
	n := int(share*barWidth + 0.5)
	if n == 0 && used > 0 {
		n = 1 // something is not nothing
	}
	if !u.rich {
		return "[" + strings.Repeat("#", n) + strings.Repeat("-", barWidth-n) + "]"
	}
	return paint(strings.Repeat("█", n)) + u.dim(strings.Repeat("░", barWidth-n))
}

// table aligns columns by their visible width and separates them by two spaces.
// Columns named in right are aligned to the right.
func table(rows [][]string, right ...int) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], visible(cell))
		}
	}
	toRight := map[int]bool{}
	for _, i := range right {
		toRight[i] = true
	}
	var b strings.Builder
	for _, row := range rows {
		var out strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-visible(cell))
			if i > 0 {
				out.WriteString("  ")
			}
			if toRight[i] {
				out.WriteString(pad + cell)
			} else {
				out.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(out.String(), " ") + "\n")
	}
	return b.String()
}

// visible is how many characters of s a terminal shows.
func visible(s string) int {
	n := 0
	for s != "" {
		if rest, ok := strings.CutPrefix(s, "\x1b["); ok {
			_, s, _ = strings.Cut(rest, "m") // ours are all colours
			continue
		}
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		n++
	}
	return n
}

// clean removes what could steer a terminal from text that others wrote: control
// characters except line breaks and tabs, and characters that turn the reading
// direction around.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
			return -1
		}
		return r
	}, s)
}

// line is clean text on a single line.
func line(s string) string {
	return strings.Join(strings.FieldsFunc(clean(s), func(r rune) bool { return r == '\n' || r == '\t' }), " ")
}

// print writes data to standard output.
func (a *app) print(s string) error {
	if _, err := io.WriteString(a.out, s); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// printText writes text of a model or a stranger: as it is to a pipe, clean to a
// terminal, and with a line break at its end.
func (a *app) printText(s string) error {
	if a.ui(a.out).tty {
		s = clean(s)
	}
	return a.print(strings.TrimRight(s, "\n") + "\n")
}

// printJSON writes v on several lines, for people who look at it too.
func (a *app) printJSON(v any) error { return a.encode(v, "  ") }

// printJSONLine writes v on one line.
func (a *app) printJSONLine(v any) error { return a.encode(v, "") }

func (a *app) encode(v any, indent string) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // nobody puts it into a page
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	return a.print(b.String())
}

// note says something beside the data: progress, or what to do next.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.err, format+"\n", args...) // nothing is left to tell it to
}

// warnFirst says what happened before the command did what it was given for.
func (a *app) warnFirst(line string) { a.note("%s first, %s", a.ui(a.err).warn(), line) }
