// SPDX-License-Identifier: MIT OR Apache-2.0

package wire

import (
	"io"
	"testing"
)

func TestSheet(t *testing.T) {
	s := &sheet{data: []byte("what is the time?")}
	read := func(most int64) string {
		t.Helper()
		r, err := s.open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(io.LimitReader(r, most))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := read(4); got != "what" {
		t.Errorf("read %q", got)
	}
	s.throwAway()
	if got := read(100); got != "what is the time?" {
		t.Errorf("what was not sent whole is not thrown away: %q", got)
	}
	s.throwAway()
	if got := read(100); got != "" || s.data != nil {
		t.Errorf("it is still there: %q", got)
	}
}
