// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"html"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// style is how a run of text looks.
type style uint8

const (
	bold style = 1 << iota
	italic
	strike
	quote
	code // within a line
	pre  // a block of it
)

// run is a piece of visible text that looks the same throughout. A text as runs
// can be cut anywhere: whatever is open there is closed and opened again, because
// tags are made only when the runs are written out.
type run struct {
	text string
	look style
	link string // where it leads
	lang string // of a block of code
}

// same reports whether two runs look the same.
func (r run) same(o run) bool { return r.look == o.look && r.link == o.link && r.lang == o.lang }

// runs is a text; neighbours that look the same are one.
type runs []run

// builder puts runs together, in time that grows with the text.
type builder struct {
	done runs
	last run // its text is in text
	text strings.Builder
}

func (b *builder) add(r run) {
	if r.text == "" {
		return
	}
	if !b.last.same(r) {
		b.flush()
	}
	b.last = r
	b.text.WriteString(r.text)
}

func (b *builder) flush() {
	if b.text.Len() > 0 {
		b.last.text = b.text.String()
		b.done = append(b.done, b.last)
		b.text.Reset()
	}
}

// runs ends the text.
func (b *builder) runs() runs {
	b.flush()
	return b.done
}

// plain is the visible text.
func (rs runs) plain() string {
	var b strings.Builder
	for _, r := range rs {
		b.WriteString(r.text)
	}
	return b.String()
}

// tag is one HTML element, as it is opened and closed.
type tag struct{ open, close string }

// tags are a run's, outermost first. Telegram lets code stand in nothing else.
func (r run) tags() []tag {
	var ts []tag
	if r.look&pre != 0 {
		if r.lang != "" {
			return []tag{{"<pre>", "</pre>"}, {`<code class="language-` + html.EscapeString(r.lang) + `">`, "</code>"}}
		}
		return []tag{{"<pre>", "</pre>"}}
	}
	if r.look&code != 0 {
		return []tag{{"<code>", "</code>"}}
	}
	for _, s := range []struct {
		look style
		name string
	}{{quote, "blockquote"}, {bold, "b"}, {italic, "i"}, {strike, "s"}} {
		if r.look&s.look != 0 {
			ts = append(ts, tag{"<" + s.name + ">", "</" + s.name + ">"})
		}
	}
	if r.link != "" {
		ts = append(ts, tag{`<a href="` + html.EscapeString(r.link) + `">`, "</a>"})
	}
	return ts
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// shared is how many of the open tags stay so for a run that has ts.
func shared(open, ts []tag) (n int) {
	for n < len(ts) && n < len(open) && ts[n] == open[n] {
		n++
	}
	return n
}

// html writes the runs for parse_mode HTML.
func (rs runs) html() string {
	var b strings.Builder
	var open []tag
	shut := func(keep int) {
		for i := len(open) - 1; i >= keep; i-- {
			b.WriteString(open[i].close)
		}
		open = open[:keep]
	}
	for _, r := range rs {
		ts := r.tags()
		keep := shared(open, ts)
		shut(keep)
		for _, t := range ts[keep:] {
			b.WriteString(t.open)
		}
		open = append(open, ts[keep:]...)
		b.WriteString(escaper.Replace(r.text))
	}
	shut(0)
	return b.String()
}

var (
	fenceLine   = regexp.MustCompile("^ {0,3}(`{3,}|~{3,})[ \t]*([A-Za-z0-9_+#.-]*)[^`]*$")
	headingLine = regexp.MustCompile(`^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$`)
	bulletLine  = regexp.MustCompile(`^([ \t]*)[-*+][ \t]+(.*)$`)
	ruleLine    = regexp.MustCompile(`^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$`)
	quoteLine   = regexp.MustCompile(`^ {0,3}>[ \t]?(.*)$`)
	tableBorder = regexp.MustCompile(`^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-*:?[ \t]*)+$`)
)

// parse reads what models write, Markdown more or less, line by line. What is not
// understood stays as it is: a letter is never lost.
func parse(text string) runs {
	var out builder
	lines := strings.Split(clean(text), "\n")
	for i := 0; i < len(lines); {
		if i > 0 {
			out.add(run{text: "\n"})
		}
		if m := fenceLine.FindStringSubmatch(lines[i]); m != nil {
			i = block(&out, lines, i+1, m[1], m[2])
			continue
		}
		if i+1 < len(lines) && strings.Contains(lines[i], "|") && tableBorder.MatchString(lines[i+1]) {
			i = table(&out, lines, i)
			continue
		}
		line(&out, lines[i], 0)
		i++
	}
	return joinQuotes(out.runs())
}

// clean makes valid text without what Telegram does not show.
func clean(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
}

// block reads the lines of a fence, to its end or that of the text, and returns
// the number of the line behind.
func block(out *builder, lines []string, i int, fence, lang string) int {
	first := i
	for ; i < len(lines); i++ {
		if m := fenceLine.FindStringSubmatch(lines[i]); m != nil && m[2] == "" && strings.HasPrefix(m[1], fence) {
			out.add(run{text: strings.Join(lines[first:i], "\n"), look: pre, lang: lang})
			return i + 1
		}
	}
	out.add(run{text: strings.Join(lines[first:], "\n"), look: pre, lang: lang})
	return i
}

// table shows a table as it was written, in letters of one width.
func table(out *builder, lines []string, i int) int {
	first := i
	for i < len(lines) && strings.Contains(lines[i], "|") {
		i++
	}
	out.add(run{text: strings.Join(lines[first:i], "\n"), look: pre})
	return i
}

func line(out *builder, s string, look style) {
	if m := quoteLine.FindStringSubmatch(s); m != nil && look&quote == 0 {
		line(out, m[1], look|quote)
		return
	}
	if m := headingLine.FindStringSubmatch(s); m != nil {
		inline(out, m[1], look|bold)
		return
	}
	if ruleLine.MatchString(s) {
		out.add(run{text: "———", look: look})
		return
	}
	if m := bulletLine.FindStringSubmatch(s); m != nil {
		out.add(run{text: m[1] + "• ", look: look})
		s = m[2]
	}
	inline(out, s, look)
}

// joinQuotes lets the line end between two quoted lines belong to the quote.
func joinQuotes(rs runs) runs {
	var out builder
	for i, r := range rs {
		if r.text == "\n" && r.look == 0 && i > 0 && i+1 < len(rs) && rs[i-1].look&quote != 0 && rs[i+1].look&quote != 0 {
			r.look = quote
		}
		out.add(r)
	}
	return out.runs()
}

// marks are what surrounds text within a line, longest first.
var marks = []struct {
	text string
	look style
}{{"**", bold}, {"__", bold}, {"~~", strike}, {"*", italic}, {"_", italic}}

// special are the signs that may begin something within a line.
const special = "\\`![*_~"

// inline reads one line, or the inside of a mark.
func inline(out *builder, s string, look style) {
	var missing []string // marks that have no end in the rest of s
	var prev rune = ' '
	for i := 0; i < len(s); {
		if n := escaped(out, s[i:], look); n > 0 {
			prev, i = ' ', i+n
			continue
		}
		if n := codeSpan(out, s[i:], look, &missing); n > 0 {
			prev, i = '`', i+n
			continue
		}
		if n := linked(out, s[i:], look); n > 0 {
			prev, i = ')', i+n
			continue
		}
		if n := marked(out, s[i:], look, prev, &missing); n > 0 {
			prev, i = '*', i+n
			continue
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		if next := strings.IndexAny(s[i+n:], special); next >= 0 {
			n += next
		} else {
			n = len(s) - i
		}
		out.add(run{text: s[i : i+n], look: look})
		prev, _ = utf8.DecodeLastRuneInString(s[i : i+n])
		i += n
	}
}

// escaped reads a backslash and the sign that it takes the meaning from.
func escaped(out *builder, s string, look style) int {
	if len(s) < 2 || s[0] != '\\' || !strings.ContainsRune("\\`*_{}[]()#+-.!|>~<", rune(s[1])) {
		return 0
	}
	out.add(run{text: s[1:2], look: look})
	return 2
}

func codeSpan(out *builder, s string, look style, missing *[]string) int {
	ticks := s[:len(s)-len(strings.TrimLeft(s, "`"))]
	if ticks == "" || slices.Contains(*missing, ticks) {
		return 0
	}
	end := strings.Index(s[len(ticks):], ticks)
	if end <= 0 {
		*missing = append(*missing, ticks)
		return 0
	}
	out.add(run{text: s[len(ticks) : len(ticks)+end], look: look&quote | code})
	return end + 2*len(ticks)
}

const maxLink = 2000 // bytes that are looked at for a link's text, and for its address

// linked reads [text](address) and ![text](address).
func linked(out *builder, s string, look style) int {
	begin := 0
	if strings.HasPrefix(s, "![") {
		begin = 1
	}
	if len(s) <= begin || s[begin] != '[' {
		return 0
	}
	rest := s[begin+1:]
	mid := strings.Index(rest[:min(len(rest), maxLink)], "](")
	if mid <= 0 {
		return 0
	}
	text, rest := rest[:mid], rest[mid+2:]
	end := addressEnd(rest[:min(len(rest), maxLink)])
	if end < 0 || !goodLink(rest[:end]) {
		return 0
	}
	var inner builder
	inline(&inner, unlinked(text), look)
	for _, r := range inner.runs() {
		r.link = rest[:end]
		out.add(r)
	}
	return begin + 1 + mid + 2 + end + 1
}

// addressEnd finds the bracket that ends an address; one within it is in a pair.
func addressEnd(s string) int {
	depth := 0
	for i, c := range s {
		switch c {
		case '(':
			depth++
		case ')':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// unlinked keeps a link from being read within a link.
func unlinked(s string) string { return strings.ReplaceAll(s, "[", "\\[") }

func goodLink(s string) bool {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == '<' || r == '>' }) {
		return false
	}
	for _, scheme := range []string{"https://", "http://", "mailto:", "tg://"} {
		if rest, ok := strings.CutPrefix(strings.ToLower(s), scheme); ok && rest != "" {
			return true
		}
	}
	return false
}

// marked reads text within a mark. The mark opens before a letter and closes
// behind one; "_" does so only at the border of a word, or file_names would slant.
func marked(out *builder, s string, look style, prev rune, missing *[]string) int {
	for _, m := range marks {
		if !strings.HasPrefix(s, m.text) || look&m.look != 0 || slices.Contains(*missing, m.text) {
			continue
		}
		if m.text[0] == '_' && wordy(prev) || blankAt(s, len(m.text)) {
			return 0
		}
		end := markEnd(s, m.text)
		if end < 0 {
			*missing = append(*missing, m.text)
			continue
		}
		inline(out, s[len(m.text):end], look|m.look)
		return end + len(m.text)
	}
	return 0
}

func markEnd(s, mark string) int {
	for i := len(mark) + 1; i+len(mark) <= len(s); i++ {
		if s[i:i+len(mark)] != mark {
			continue
		}
		if len(mark) == 1 && i+1 < len(s) && s[i+1] == mark[0] {
			i++ // two of them are another mark
			continue
		}
		before, _ := utf8.DecodeLastRuneInString(s[:i])
		after, _ := utf8.DecodeRuneInString(s[i+len(mark):])
		if unicode.IsSpace(before) || before == '\\' || mark[0] == '_' && wordy(after) {
			continue
		}
		if len(mark) == 2 && s[2] == mark[0] && after == rune(mark[0]) {
			i++ // the inner mark of three ends first
		}
		return i
	}
	return -1
}

func wordy(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) }

func blankAt(s string, i int) bool {
	r, n := utf8.DecodeRuneInString(s[i:])
	return n == 0 || unicode.IsSpace(r)
}
