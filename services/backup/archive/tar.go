// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The tar is POSIX ustar (IEEE 1003.1, pax "ustar Interchange Format"), and a pax record where a
// name or size does not fit. The reader compares headers byte by byte, so what is
// written here for a file must stay the same for as long as the format does.

const (
	block      = 512
	octalSize  = 1 << 33 // from here on a size does not fit into its field
	paxName    = "pax"
	regularTar = '0'
	paxTar     = 'x'
)

// tarHeader is all that stands before the content of f.
func tarHeader(f File, at time.Time) []byte {
	var records []byte
	name, prefix, fits := splitName(f.Name)
	if !fits {
		records = append(records, paxRecord("path", f.Name)...)
		name, prefix = paxName, ""
	}
	size := f.Size
	if size >= octalSize {
		records = append(records, paxRecord("size", strconv.FormatInt(size, 10))...)
		size = 0
	}
	var b []byte
	if len(records) > 0 {
		n := int64(len(records))
		b = append(b, tarBlock(paxName, "", paxTar, 0o600, n, at)...)
		b = append(b, records...)
		b = append(b, make([]byte, padding(n))...)
	}
	return append(b, tarBlock(name, prefix, regularTar, f.Mode, size, at)...)
}

// tarEnd is what ends a tar.
func tarEnd() []byte { return make([]byte, 2*block) }

// padding is how many zeros follow n bytes of content.
func padding(n int64) int64 { return -n & (block - 1) }

func tarBlock(name, prefix string, kind byte, mode uint32, size int64, at time.Time) []byte {
	b := make([]byte, block)
	copy(b, name)
	octal(b[100:108], int64(mode))
	octal(b[108:116], 0) // owner
	octal(b[116:124], 0) // group
	octal(b[124:136], size)
	octal(b[136:148], at.Unix())
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	octal(b[329:337], 0)
	octal(b[337:345], 0)
	copy(b[345:], prefix)
	copy(b[148:156], "        ") // the sum is made with its own field blank
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	octal(b[148:155], int64(sum))
	return b
}

// octal fills field with digits and a zero byte.
func octal(field []byte, v int64) {
	copy(field, fmt.Sprintf("%0*o", len(field)-1, v))
}

// splitName divides a long name at a slash into the header's two fields.
func splitName(full string) (name, prefix string, ok bool) {
	if len(full) <= 100 {
		return full, "", true
	}
	if i := strings.IndexByte(full[len(full)-101:], '/'); i >= 0 {
		i += len(full) - 101
		if 0 < i && i <= 155 {
			return full[i+1:], full[:i], true
		}
	}
	return "", "", false
}

// paxRecord is "LENGTH KEY=VALUE\n", where the length counts its own digits.
func paxRecord(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	n := len(rest)
	for n != len(rest)+len(strconv.Itoa(n)) {
		n = len(rest) + len(strconv.Itoa(n))
	}
	return strconv.Itoa(n) + rest
}
