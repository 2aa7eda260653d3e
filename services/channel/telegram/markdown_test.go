// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestMarkdown(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain & <simple>", "plain &amp; &lt;simple&gt;"},
		{"**bold** and __too__", "<b>bold</b> and <b>too</b>"},
		{"*it* _it_", "<i>it</i> <i>it</i>"},
		{"***both***", "<b><i>both</i></b>"},
		{"**bold *and it* more**", "<b>bold </b><b><i>and it</i> more</b>"},
		{"snake_case_name 2*3*4 a * b", "snake_case_name 2<i>3</i>4 a * b"},
		{"~~gone~~", "<s>gone</s>"},
		{"`a < b` and ``x`y``", "<code>a &lt; b</code> and <code>x`y</code>"},
		{"an **open mark", "an **open mark"},
		{"# Title #\ntext", "<b>Title</b>\ntext"},
		{"- one\n  * two\n3. three", "• one\n  • two\n3. three"},
		{"[a **b**](https://x.org/y_(z)?a=1&b=2)", `<a href="https://x.org/y_(z)?a=1&amp;b=2">a </a><b><a href="https://x.org/y_(z)?a=1&amp;b=2">b</a></b>`},
		{"[a](javascript:alert)", "[a](javascript:alert)"},
		{"![pic](https://x.org/p.png)", `<a href="https://x.org/p.png">pic</a>`},
		{"```go\nif a < b {\n```\nafter", "<pre><code class=\"language-go\">if a &lt; b {</code></pre>\nafter"},
		{"```\nno end", "<pre>no end</pre>"},
		{"````\n```\n````", "<pre>```</pre>"},
		{"> said\n> **twice**\nme", "<blockquote>said\n<b>twice</b></blockquote>\nme"},
		{"| a | b |\n|---|---|\n| 1 | 2 |\nend", "<pre>| a | b |\n|---|---|\n| 1 | 2 |</pre>\nend"},
		{`\*not\* \_it\_`, "*not* _it_"},
		{"a\n---\nb", "a\n———\nb"},
		{"bad \xff\x00 end\r\n", "bad \uFFFD end\n"},
	} {
		if got := parse(c.in).html(); strings.ReplaceAll(got, "</b><b>", "") != strings.ReplaceAll(c.want, "</b><b>", "") {
			t.Errorf("%q\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestSplit(t *testing.T) {
	word := strings.Repeat("w", 9) + " "
	for _, c := range []struct {
		name, in string
		limit    int
		want     []string
	}{
		{"short", "hello", 10, []string{"hello"}},
		{"paragraph", "aaaaaa\n\nbbb ccc", 10, []string{"aaaaaa", "bbb ccc"}},
		{"line", "aaaaaaa\nbbb ccc", 10, []string{"aaaaaaa", "bbb ccc"}},
		{"a line that is not indented", "def a:\n  1\ndef b:\n  2", 16, []string{"def a:\n  1", "def b:\n  2"}},
		{"only indented lines", "def a:\n  1\n  2\n  3", 14, []string{"def a:\n  1\n  2", "  3"}},
		{"word", "aaa bbb ccc", 10, []string{"aaa bbb", "ccc"}},
		{"anywhere", strings.Repeat("x", 25), 10, []string{strings.Repeat("x", 10), strings.Repeat("x", 10), "xxxxx"}},
		{"exact", word + word, 20, []string{word + word}},
		{"surrogates", strings.Repeat("😀", 6), 5, []string{"😀😀", "😀😀", "😀😀"}},
		{"blank", " \n\n ", 5, nil},
	} {
		var got []string
		for _, p := range split(c.in, c.limit) {
			got = append(got, p.plain())
		}
		if strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	parts := split("```go\n"+strings.Repeat("line of code\n", 4)+"```", 30)
	for i, p := range parts {
		if h := p.html(); !strings.HasPrefix(h, `<pre><code class="language-go">`) || !strings.HasSuffix(h, "</code></pre>") {
			t.Errorf("part %d: %s", i, h)
		}
	}
	if len(parts) != 2 {
		t.Errorf("%d parts", len(parts))
	}
}

// No message has more tags than Telegram reads: the address of a link would be lost.
func TestSplitAtTooManyTags(t *testing.T) {
	opened := func(rs runs) (n int) {
		for _, m := range anyTag.FindAllStringSubmatch(rs.html(), -1) {
			if m[1] == "" {
				n++
			}
		}
		return n
	}
	for name, in := range map[string]string{
		"links":  strings.Repeat("[a](https://x.org/1) [b](https://x.org/2)\n", 80),
		"looks":  strings.Repeat("***~~a~~*** `c` ", 90),
		"quotes": strings.Repeat("> **q** [l](https://x.org)\n\n", 70),
	} {
		parts := split(in, maxUnits)
		for i, p := range parts {
			if n := opened(p); n > maxEntities || n < maxEntities/3 && i < len(parts)-1 {
				t.Errorf("%s: part %d of %d has %d tags", name, i, len(parts), n)
			}
		}
	}
	if parts := split(strings.Repeat("> quoted\n", 300), maxUnits); len(parts) != 1 {
		t.Errorf("one quote is %d messages", len(parts))
	}
}

// A long text that only opens marks is read in time that grows with its length.
func TestMarkdownIsNotSlow(t *testing.T) {
	begin := time.Now()
	for _, s := range []string{"**a", "[a](", "`a", "_a *b", "~~", "[", "> ", "***", "*a* "} {
		split(strings.Repeat(s, 60_000/len(s)), maxUnits)
	}
	t.Log("took", time.Since(begin))
}

var anyTag = regexp.MustCompile(`<(/?)([a-z]+)[^>]*>`)

func balanced(s string) bool {
	var open []string
	for _, m := range anyTag.FindAllStringSubmatch(s, -1) {
		if m[1] == "" {
			open = append(open, m[2])
		} else if len(open) == 0 || open[len(open)-1] != m[2] {
			return false
		} else {
			open = open[:len(open)-1]
		}
	}
	return len(open) == 0
}

func letters(s string, count map[rune]int, by int) {
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			count[r] += by
		}
	}
}

// Whatever a model writes: no part is too long, tags are balanced, and no letter is
// lost or made up.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"**a** _b_ `c` [d](https://e.f) ~~g~~", "```go\nx\n```\n> q\n- l\n# h", "| a | b |\n|---|---|\n| c | d |", "[a [b](http://c) d](http://e)", "***a** b*", "😀 **\\*x**", "```a`b\n", "~~~ x\n~~~"} {
		f.Add(s, 20)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 2 || limit > maxUnits {
			limit = 64
		}
		count := map[rune]int{}
		letters(clean(s), count, 1)
		link := ""
		for _, r := range parse(s) {
			letters(r.text, count, -1)
			if r.link != "" && r.link != link { // neighbours may share one
				letters(r.link, count, -1)
			}
			if r.look&pre != 0 {
				letters(r.lang, count, -1)
			}
			link = r.link
		}
		if !strings.Contains(s, "](") && !strings.Contains(s, "```") && !strings.Contains(s, "~~~") {
			for r, n := range count {
				if n != 0 {
					t.Fatalf("%q: the letter %q is off by %d", s, r, n)
				}
			}
		}
		var plain strings.Builder
		for _, p := range split(s, limit) {
			if n := units(p.plain()); n > limit {
				t.Fatalf("%q: a part has %d units, more than %d", s, n, limit)
			}
			if h := p.html(); !balanced(h) {
				t.Fatalf("%q: not balanced: %s", s, h)
			}
			plain.WriteString(p.plain())
		}
		squeeze := func(s string) string {
			return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return !visible(string(r)) }), "")
		}
		if got, want := squeeze(plain.String()), squeeze(parse(s).plain()); got != want {
			t.Fatalf("%q: split lost something: %q, want %q", s, got, want)
		}
	})
}

// Whatever comes as an update is read without a panic, and what is handed over has
// a text or a file, and an id.
func FuzzUpdate(f *testing.F) {
	for _, s := range []string{`{"update_id":1,"message":{"message_id":2,"chat":{"id":3,"type":"private"},"from":{"id":3},"text":"hi"}}`,
		`{"update_id":1,"edited_message":{"message_id":2,"edit_date":9,"chat":{"id":-3,"type":"group"},"text":"/a@me_bot b","entities":[{"type":"bot_command","offset":0,"length":9}]}}`,
		`{"update_id":1,"message":{"message_id":2,"chat":{"id":3,"type":"private"},"photo":[{"file_id":"a","file_size":5}],"caption":"😀 @me_bot","caption_entities":[{"type":"mention","offset":3,"length":7}]}}`,
		`{"update_id":1,"message":{"message_id":2,"chat":{"id":3,"type":"private"},"document":{"file_name":"../\u0000x","mime_type":"a/b;"}}}`,
		`{"update_id":"x"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := decodeUpdate(data)
		if err != nil {
			return
		}
		in := read(u, user{ID: 7, Username: "me_bot"}, 1000)
		if in.ignored || in.refusal != "" {
			return
		}
		if in.message.ExternalID == "" || strings.TrimSpace(in.message.Text) == "" && in.file == nil {
			t.Fatalf("%s: %+v", data, in.message)
		}
		if in.file != nil && (in.file.Name == "" || strings.ContainsAny(in.file.Name, "/\\\n\x00") || len([]rune(in.file.Name)) > maxFileName) {
			t.Fatalf("%s: the file's name is %q", data, in.file.Name)
		}
		if _, err := json.Marshal(in.message); err != nil {
			t.Fatal(err)
		}
	})
}

// Two edits within a second are two messages, and one that comes again is one.
func TestEditsWithinASecond(t *testing.T) {
	edit := func(text, caption, picture string) string {
		m := &message{ID: 2, EditDate: 9, Chat: chat{ID: 3, Type: "private"}, Text: text, Caption: caption}
		if picture != "" {
			m.Document = &file{ID: "now" + picture, Unique: picture}
		}
		return read(update{Edited: m}, user{}, 1).message.ExternalID
	}
	if edit("a", "", "") == edit("b", "", "") || edit("", "a", "") == edit("", "b", "") || edit("a", "", "") == edit("", "a", "") || edit("", "a", "p") == edit("", "a", "q") {
		t.Error("they are taken for one")
	}
	if once, again := edit("a", "", ""), edit("a", "", ""); once != again || once == "" {
		t.Error("it is taken for two")
	}
}
