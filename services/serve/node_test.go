// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"strings"
	"testing"
)

// A name that no backup and no hook could be told is refused at once, not at the first backup.
func TestNodeNames(t *testing.T) {
	for name, good := range map[string]bool{"": true, "kitchen": true, "Ann's Küche": true, "a\nb": false, "a\x00b": false, "a\xffb": false, strings.Repeat("x", 256): false} {
		c := Defaults()
		c.Daemon.Node = name
		var told []string
		c.checkNode(func(key, _, _ string) { told = append(told, key) })
		if (len(told) == 0) != good {
			t.Errorf("%.20q: %q", name, told)
		}
	}
}
