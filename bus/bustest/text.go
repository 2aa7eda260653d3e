// SPDX-License-Identifier: MIT OR Apache-2.0

package bustest

import (
	"strings"
	"sync"
)

// Text is what a log or a process writes, to be read meanwhile. The zero value is empty.
type Text struct {
	mu  sync.Mutex
	all strings.Builder
}

// Write implements io.Writer.
func (t *Text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all.Write(p)
}

// String is all of it so far.
func (t *Text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all.String()
}
