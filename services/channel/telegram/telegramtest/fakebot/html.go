// SPDX-License-Identifier: MIT OR Apache-2.0

package fakebot

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
)

// units counts as Telegram does.
func units(s string) int { return len(utf16.Encode([]rune(s))) }

var htmlTag = regexp.MustCompile(`^<(/?)([a-z][a-z0-9-]*)((?:\s+[a-z-]+(?:="[^"<>]*")?)*)\s*>`)

var known = map[string]bool{"b": true, "strong": true, "i": true, "em": true, "u": true, "ins": true, "s": true, "strike": true, "del": true,
	"span": true, "tg-spoiler": true, "a": true, "code": true, "pre": true, "blockquote": true}

// readHTML reads a text with the tags of "HTML style" in the vendor's reference and
// returns what people see, or what is wrong with it.
func readHTML(s string) (plain, fault string) {
	var out strings.Builder
	var open []string
	for i := 0; i < len(s); {
		switch s[i] {
		case '<':
			m := htmlTag.FindStringSubmatch(s[i:])
			if m == nil {
				return "", fmt.Sprintf("Unsupported start tag at byte offset %d", i)
			}
			if m[1] == "" {
				if !known[m[2]] {
					return "", fmt.Sprintf("Unsupported start tag %q at byte offset %d", m[2], i)
				}
				open = append(open, m[2])
			} else if len(open) == 0 || open[len(open)-1] != m[2] {
				return "", fmt.Sprintf("Unmatched end tag at byte offset %d, found %q", i, s[i:i+len(m[0])])
			} else {
				open = open[:len(open)-1]
			}
			i += len(m[0])
		case '&':
			text, n := reference(s[i:])
			out.WriteString(text)
			i += n
		default:
			out.WriteByte(s[i])
			i++
		}
	}
	if len(open) > 0 {
		return "", fmt.Sprintf("Can't find end tag corresponding to start tag %q", open[len(open)-1])
	}
	return out.String(), ""
}

// reference reads a character reference; what is none stands for itself.
func reference(s string) (text string, n int) {
	name, _, ok := strings.Cut(s[1:], ";")
	if !ok || len(name) > 10 {
		return "&", 1
	}
	switch name {
	case "amp":
		text = "&"
	case "lt":
		text = "<"
	case "gt":
		text = ">"
	case "quot":
		text = `"`
	default:
		number, isNumber := strings.CutPrefix(name, "#")
		v, err := strconv.ParseUint(number, 10, 21)
		if !isNumber || err != nil {
			return "&", 1
		}
		text = string(rune(v))
	}
	return text, len(name) + 2
}
