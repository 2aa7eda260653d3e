// SPDX-License-Identifier: MIT OR Apache-2.0

package pagemap

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// Pages are counted over all that is read, and what says too little is an error.
func TestCount(t *testing.T) {
	const pages = 2*pagesAtOnce + 3
	var entries []byte
	for n := range pages {
		entry := uint64(n)
		switch n % 3 {
		case 1:
			entry |= inMemory
		case 2:
			entry |= inSwap
		}
		entries = binary.NativeEndian.AppendUint64(entries, entry)
	}
	want := Pages{Present: (pages + 1) / 3, Swapped: pages / 3}
	if got, err := count(bytes.NewReader(entries), pages); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, cut := range []int{0, 1, entryBytes, len(entries) - 1} {
		if got, err := count(bytes.NewReader(entries[:cut]), pages); err == nil {
			t.Errorf("%d bytes: %+v", cut, got)
		}
	}
}
