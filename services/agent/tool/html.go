// SPDX-License-Identifier: MIT OR Apache-2.0

package tool

import (
	"html"
	"strings"
	"unicode"
)

// plainText is what a person would read of a page, at most limit bytes: no tags,
// scripts, styles or comments, one line for each block. It is no parser: a page
// that is broken reads a little worse.
func plainText(page string, limit int) (text string, cut bool) {
	w := writer{limit: limit}
	for page != "" && !w.full {
		i := strings.IndexByte(page, '<')
		if i < 0 {
			i = len(page)
		}
		w.words(html.UnescapeString(page[:i]))
		if page = page[i:]; page == "" {
			break
		}
		page = w.markup(page)
	}
	return strings.TrimSpace(w.b.String()), w.full
}

// hidden are the elements whose content nobody reads.
var hidden = map[string]bool{"script": true, "style": true, "noscript": true, "template": true, "svg": true, "iframe": true, "textarea": true, "select": true}

// blocks are the elements that stand on lines of their own.
var blocks = map[string]string{"p": "\n", "div": "\n", "br": "\n", "li": "\n- ", "ul": "\n", "ol": "\n", "tr": "\n", "table": "\n", "title": "\n",
	"h1": "\n\n", "h2": "\n\n", "h3": "\n\n", "h4": "\n", "h5": "\n", "h6": "\n", "section": "\n", "article": "\n", "header": "\n", "footer": "\n",
	"nav": "\n", "main": "\n", "aside": "\n", "form": "\n", "blockquote": "\n", "pre": "\n", "hr": "\n", "dt": "\n", "dd": "\n", "figure": "\n", "td": " ", "th": " "}

// markup reads one tag, comment or declaration at the begin of page and returns
// what follows. A lone "<" is text.
func (w *writer) markup(page string) string {
	if rest, ok := strings.CutPrefix(page, "<!--"); ok {
		_, rest, _ = strings.Cut(rest, "-->")
		return rest
	}
	closing := strings.HasPrefix(page, "</")
	name := tagName(strings.TrimPrefix(page[1:], "/"))
	if name == "" && !strings.HasPrefix(page, "<!") && !strings.HasPrefix(page, "<?") {
		w.words("<")
		return page[1:]
	}
	rest, empty := afterTag(page)
	switch {
	case hidden[name] && !closing && !(empty && name == "svg"): // only that one may end itself
		return afterElement(rest, name)
	case closing && blocks[name] != "" && blocks[name] != " ":
		w.lines("\n")
	case !closing:
		w.lines(blocks[name])
	}
	return rest
}

// tagName is the name that s begins with, in lower case; "" if none does.
func tagName(s string) string {
	i := strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	})
	if i < 0 {
		i = len(s)
	}
	if i == 0 || s[0] < 'A' {
		return ""
	}
	return strings.ToLower(s[:min(i, 32)])
}

// afterTag returns what follows a tag's end, which no quoted attribute hides, and
// whether the tag is one that ends itself.
func afterTag(page string) (rest string, empty bool) {
	var quote byte
	for i := 1; i < len(page); i++ {
		switch c := page[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case (c == '"' || c == '\'') && page[i-1] == '=':
			quote = c
		case c == '>':
			return page[i+1:], page[i-1] == '/'
		}
	}
	return "", false
}

// afterElement returns what follows the end of the element called name.
func afterElement(page, name string) string {
	for {
		i := strings.Index(page, "</")
		if i < 0 {
			return ""
		}
		if page = page[i:]; tagName(page[2:]) == name {
			rest, _ := afterTag(page)
			return rest
		}
		page = page[2:]
	}
}

// writer collects words and line breaks: one space between words, at most one
// empty line.
type writer struct {
	b     strings.Builder
	limit int
	gap   string // what is owed before the next word
	full  bool
}

// lines owes a break, unless a larger one is owed.
func (w *writer) lines(gap string) {
	if len(gap) > len(w.gap) || gap == "\n" && !strings.Contains(w.gap, "\n") {
		w.gap = gap
	}
}

func (w *writer) words(s string) {
	for s != "" && !w.full {
		if i := strings.IndexFunc(s, func(r rune) bool { return !blank(r) }); i != 0 {
			w.lines(" ")
			if i < 0 {
				return
			}
			s = s[i:]
		}
		i := strings.IndexFunc(s, blank)
		if i < 0 {
			i = len(s)
		}
		w.word(s[:i])
		s = s[i:]
	}
}

// blank is white space, and what steers a terminal instead of being read.
func blank(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

func (w *writer) word(s string) {
	if w.b.Len() == 0 {
		w.gap = strings.TrimLeft(w.gap, " \n")
	}
	if w.b.Len()+len(w.gap)+len(s) > w.limit {
		s, _ = shorten(s, max(0, w.limit-w.b.Len()-len(w.gap)))
		w.full = true
	}
	if s != "" {
		w.b.WriteString(w.gap + s)
	}
	w.gap = ""
}
