// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"strings"
	"testing"
	"time"
)

func TestName(t *testing.T) {
	east := time.FixedZone("east", 2*60*60)
	for _, tt := range []struct {
		node      string
		at        time.Time
		encrypted bool
		want      string
	}{
		{"home", created, false, "blufio-home-20260304T050607Z.tar.zst"},
		{"home", created.In(east).Add(time.Millisecond), true, "blufio-home-20260304T050607Z.tar.zst.age"},
		{"my-box.lan", created, false, "blufio-my-box.lan-20260304T050607Z.tar.zst"},
		{"../b ü", created, false, "blufio-.._b__-20260304T050607Z.tar.zst"},
		{"", created, false, "blufio-_-20260304T050607Z.tar.zst"},
		{strings.Repeat("n", 300), created, false, "blufio-" + strings.Repeat("n", 64) + "-20260304T050607Z.tar.zst"},
	} {
		name := Name(tt.node, tt.at, tt.encrypted)
		if name != tt.want {
			t.Errorf("Name(%q): %s, want %s", tt.node, name, tt.want)
		}
		if node, at, ok := ParseName(name); !ok || node != NodeName(tt.node) || !at.Equal(created) {
			t.Errorf("ParseName(%q): %q, %v, %v", name, node, at, ok)
		}
	}
	for _, base := range []string{"", "blufio-home.tar.zst", "blufio-20260304T050607Z.tar.zst", "blufio--20260304T050607Z.tar.zst",
		"blufio-home-20260304T050607Z.tar.zst.partial", "blufio-home-20260304T050607Z.tar", "blufio-home-20261304T050607Z.tar.zst",
		"blufio-a b-20260304T050607Z.tar.zst", "x-home-20260304T050607Z.tar.zst", "blufio-home-20260304T050607.5Z.tar.zst"} {
		if node, at, ok := ParseName(base); ok {
			t.Errorf("ParseName(%q): %q, %v", base, node, at)
		}
	}
}
