// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	minRedacted = 8   // bytes: anything shorter would blank ordinary words
	maxRedacted = 256 // secrets that one Redactor knows; the oldest is forgotten for a new one
)

// Why a Redactor does not look for a secret.
var (
	ErrShortSecret = errors.New("the secret is shorter than 8 bytes, too short to be found in text")
	ErrManySecrets = errors.New("there are more than 256 secrets: the oldest is no longer found in text")
)

// Redactor knows the secrets of this process and takes them out of text that leaves
// it: the second line of defence behind [Secret], for what others say. A vendor's
// error may repeat the key, a library's the URL with the token in it.
//
// It finds a secret as it is, escaped as in a URL, in JSON or in a quoted Go string,
// and in base64, also within a longer base64 text. It does not find a part of a
// secret: cut text after it is redacted. A secret that was replaced stays known, for
// what was said with it may come back. The zero value is ready, a nil Redactor knows
// no secret, and all methods may be called concurrently.
type Redactor struct {
	mu    sync.Mutex
	known []string
	table atomic.Pointer[table]
}

// Add makes s known. The error says that something will not be found; it is nil when
// s is not set or known already.
func (r *Redactor) Add(s Secret) error {
	text := s.Reveal()
	switch {
	case text == "":
		return nil
	case len(text) < minRedacted:
		return ErrShortSecret
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.known, text) {
		return nil
	}
	var err error
	if len(r.known) == maxRedacted {
		r.known, err = r.known[1:], ErrManySecrets
	}
	r.known = append(slices.Clip(r.known), text)
	r.table.Store(newTable(r.known))
	return err
}

// Len is how many secrets are known.
func (r *Redactor) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.known)
}

// Redact returns text with "[redacted]" in place of every known secret. Text without
// one comes back as it is, at about a nanosecond a byte.
func (r *Redactor) Redact(text string) string {
	if r == nil {
		return text
	}
	t := r.table.Load()
	if t == nil || len(text) < minRedacted {
		return text
	}
	at, length := find(t, text, 0)
	if length == 0 {
		return text
	}
	var b strings.Builder
	for from := 0; ; {
		b.WriteString(text[from:at])
		b.WriteString(redacted)
		from = at + length
		if at, length = find(t, text, from); length == 0 {
			b.WriteString(text[from:])
			return b.String()
		}
	}
}

// RedactJSON does the same within the strings of a JSON text, which stays valid, and
// leaves numbers alone. So it does with names of fields as structs have them, a-z 0-9 _:
// whoever reads the text looks for them, also when somebody chose one for a passphrase.
func (r *Redactor) RedactJSON(data []byte) []byte {
	if r == nil || r.table.Load() == nil || len(data) < minRedacted {
		return data
	}
	var out []byte
	copied := 0
	for at := 0; at < len(data); at++ {
		if data[at] != '"' {
			continue
		}
		end := endOfString(data, at)
		if clean, ok := r.redactString(data[at:end]); ok && !isField(data, at, end) {
			out = append(append(out, data[copied:at]...), clean...)
			copied = end
		}
		at = end - 1
	}
	if copied == 0 {
		return data
	}
	return append(out, data[copied:]...)
}

// isField reports whether the JSON string from start to end is the name of a field.
func isField(data []byte, start, end int) bool {
	if rest := bytes.TrimLeft(data[end:], " \t\r\n"); len(rest) == 0 || rest[0] != ':' {
		return false
	}
	for _, c := range data[start+1 : end-1] {
		if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// endOfString returns where the JSON string that begins at start ends.
func endOfString(data []byte, start int) int {
	for i := start + 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(data)
}

// redactString redacts one JSON string; false when there is nothing to redact. What
// counts is what the string means, however it is escaped.
func (r *Redactor) redactString(quoted []byte) ([]byte, bool) {
	if len(quoted) < minRedacted+2 {
		return nil, false
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		if _, length := find(r.table.Load(), quoted, 0); length == 0 {
			return nil, false
		}
	}
	var text string
	if json.Unmarshal(quoted, &text) != nil {
		return nil, false
	}
	clean := r.Redact(text)
	if clean == text {
		return nil, false
	}
	out, err := json.Marshal(clean)
	return out, err == nil
}

// table finds many texts in one pass: all begin with at least minRedacted bytes, and
// those are looked up for each position of a text, in a bitmap first.
type table struct {
	filter [filterBits / 64]uint64
	begins map[uint64][]string // by the first bytes, longer texts first
}

const filterBits = 1 << 13

func newTable(secrets []string) *table {
	t := &table{begins: map[uint64][]string{}}
	for _, s := range secrets {
		for _, form := range forms(s) {
			t.add(form)
		}
	}
	for _, texts := range t.begins {
		slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) })
	}
	return t
}

func (t *table) add(text string) {
	if len(text) < minRedacted {
		return
	}
	begin := window(text, 0)
	if slices.Contains(t.begins[begin], text) {
		return
	}
	t.begins[begin] = append(t.begins[begin], text)
	bit := hash(begin)
	t.filter[bit/64] |= 1 << (bit % 64)
}

// find returns the first known text at from or behind it, length 0 for none.
func find[T string | []byte](t *table, text T, from int) (at, length int) {
	for at = from; at+minRedacted <= len(text); at++ {
		begin := window(text, at)
		if bit := hash(begin); t.filter[bit/64]&(1<<(bit%64)) == 0 {
			continue
		}
		for _, known := range t.begins[begin] {
			if len(text)-at >= len(known) && string(text[at:at+len(known)]) == known {
				return at, len(known)
			}
		}
	}
	return 0, 0
}

// window is the text's next minRedacted bytes as a number.
func window[T string | []byte](text T, at int) uint64 {
	b := text[at : at+minRedacted]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

func hash(w uint64) uint64 { return w * 0x9e3779b97f4a7c15 >> (64 - 13) }

// forms are the ways in which a secret is written.
func forms(s string) []string {
	all := []string{s, url.QueryEscape(s), url.PathEscape(s), (&url.URL{Path: s}).EscapedPath(), url.UserPassword("", s).String()[1:]}
	for _, quoted := range []string{strconv.Quote(s), jsonQuote(s, true), jsonQuote(s, false)} {
		all = append(all, quoted[1:len(quoted)-1])
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		all = append(all, enc.EncodeToString([]byte(s)), enc.WithPadding(base64.NoPadding).EncodeToString([]byte(s)))
		for lead := range 3 {
			all = append(all, core(enc, s, lead))
		}
	}
	return all
}

// jsonQuote writes s as a JSON string, html as json.Marshal does it.
func jsonQuote(s string, html bool) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(html)
	if err := enc.Encode(s); err != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// core is what base64 makes of s behind lead other bytes and before any others: the
// characters that no neighbour has a part in.
func core(enc *base64.Encoding, s string, lead int) string {
	text := enc.EncodeToString(append(make([]byte, lead), s...))
	first := (lead*8 + 5) / 6
	last := (lead + len(s)) * 8 / 6
	return text[first:last]
}
