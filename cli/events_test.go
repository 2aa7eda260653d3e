// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestEventDetails(t *testing.T) {
	for in, want := range map[string]string{
		`{"time":"2026-11-23T09:30:00Z","message_id":"m1","bytes":2048,"amount_microusd":31200,"duration_ms":1500,"ok":true}`: "message_id=m1 bytes=2.0KiB amount=$0.0312 duration=1.5s ok=true",
		`{"reason":"a strange bill","usage":{"input":1},"n":3,"none":null,"empty":""}`:                                        `reason="a strange bill" n=3`,
		`[1,2]`: `[1,2]`,
		`{`:     ``,
	} {
		if got := eventDetails(json.RawMessage(in)); got != want {
			t.Errorf("%s:\n got %q\nwant %q", in, got, want)
		}
	}
}

func FuzzEventDetails(f *testing.F) {
	f.Add(`{"a":1.5,"b_ms":99999999999999999999,"c":"\u0007"}`)
	f.Fuzz(func(t *testing.T, in string) {
		if out := line(eventDetails(json.RawMessage(in))); strings.ContainsAny(out, "\n\x1b") {
			t.Errorf("%q shows %q", in, out)
		}
	})
}
