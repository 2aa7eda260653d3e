// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"fmt"
	"strconv"
	"strings"
)

// joinKey writes a path as a dotted key, quoting the parts that TOML would quote.
func joinKey(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		if parts[i] = p; !bare(p) {
			parts[i] = quote(p)
		}
	}
	return strings.Join(parts, ".")
}

// splitKey is the reverse of joinKey.
func splitKey(key string) ([]string, error) {
	var path []string
	for rest := key; ; {
		part, tail := rest, ""
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("read key %s: unfinished quote", key)
			}
			tail = rest[len(quoted):]
			if part, err = strconv.Unquote(quoted); err != nil {
				return nil, fmt.Errorf("read key %s: %w", key, err)
			}
		} else if i := strings.IndexByte(rest, '.'); i >= 0 {
			part, tail = rest[:i], rest[i:]
		}
		path = append(path, part)
		if tail == "" {
			return path, nil
		}
		if tail[0] != '.' {
			return nil, fmt.Errorf("read key %s: no dot after a quoted part", key)
		}
		rest = tail[1:]
	}
}

// bare reports whether TOML lets s stand as a key without quotes.
func bare(s string) bool {
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
		default:
			return false
		}
	}
	return s != ""
}

// quote writes s as a TOML basic string, which Go's strconv.Unquote reads as well.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// named puts a key into a sentence.
func named(path []string) string {
	key := joinKey(path)
	if strings.Contains(key, `"`) {
		return key
	}
	return `"` + key + `"`
}

// maxShown bounds what a message shows of what an owner wrote, in bytes.
const maxShown = 80
