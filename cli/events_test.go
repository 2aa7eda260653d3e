// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

func TestEventDetails(t *testing.T) {
	for in, want := range map[string]string{
		`{"time":"2026-11-23T09:30:00Z","message_id":"m1","bytes":2048,"amount_microusd":31200,"duration_ms":1500,"ok":true}`: "bytes=2.0KiB amount=$0.0312 duration=1.5s ok=true message_id=m1",
		`{"reason":"a strange bill","usage":{"input":1,"cache_read":0},"n":3,"none":null,"empty":""}`:                         `reason="a strange bill" input=1 n=3`,
		`{"id":"c1","message_id":"m1","rss_bytes":1048576,"uptime_seconds":90000}`:                                            `rss=1.0MiB uptime=1d1h message_id=m1`,
		`{"id":"c1"}`: `id=c1`,
		`{"checks":[{"name":"gateway","ok":false},{"name":"bus"},{}],"list":["a","b",1]}`: `checks=gateway,bus list=a,b`,
		`{"f":1.5,"big":99999999999999999999,"late_ms":9223372036854775807}`:              `f=1.5 big=99999999999999999999 late=277777h46m40s`,
		`[1,2]`:               `[1,2]`,
		`null`:                `null`,
		`{`:                   `{`,
		`{"a":"b`:             `{"a":"b`,
		`{"a":"\u001b[2Jx"}`:  `a=[2Jx`,
		`{"a":"b","c":`:       `{"a":"b","c":`,
		`{"a\u001b\n":"b"}`:   `a=b`,
		`{"x":{"y":{"z":1}}}`: `z=1`,
	} {
		if got := eventDetails(ui{}, json.RawMessage(in)); got != want {
			t.Errorf("%s:\n got %q\nwant %q", in, got, want)
		}
	}
}

func FuzzEventDetails(f *testing.F) {
	f.Add(`{"a":1.5,"b_ms":99999999999999999999,"c":"\u0007"}`)
	f.Fuzz(func(t *testing.T, in string) {
		if out := eventDetails(ui{tty: true}, json.RawMessage(in)); strings.ContainsAny(out, "\n\x1b\x07") {
			t.Errorf("%q shows %q", in, out)
		}
	})
}

// Every fact has a line that says something, and its name a colour.
func TestEveryFactHasALine(t *testing.T) {
	colour := regexp.MustCompile(`\x1b\[3[1-6]m` + `[a-z.]+`)
	for _, s := range facts() {
		payload, err := os.ReadFile(filepath.Join("..", "bus", "testdata", "v1", bus.GoldenName(s)))
		if err != nil {
			t.Fatal(err)
		}
		e := bus.EventRecord{Position: 7, Time: time.Date(2026, 11, 23, 9, 30, 0, 0, time.Local), Event: s.Name, Payload: payload}
		plain := eventLine(ui{}, e)
		if !strings.HasPrefix(plain, happened(e).Local().Format(time.DateTime)+" #7  "+strings.TrimPrefix(s.Name, "evt.")) || !strings.Contains(plain, "=") ||
			strings.Contains(plain, "{") || strings.Count(plain, "\n") != 1 {
			t.Errorf("%s: %q", s.Name, plain)
		}
		t.Log(plain)
		if rich := eventLine(ui{rich: true, tty: true}, e); !colour.MatchString(rich) {
			t.Errorf("%s: %q", s.Name, rich)
		}
	}
}

// A line says when the event happened, not when a stream that was made anew stored it.
func TestEventLineTime(t *testing.T) {
	stored := time.Date(2026, 11, 26, 12, 0, 0, 0, time.Local)
	happened := time.Date(2026, 11, 23, 9, 30, 0, 0, time.Local)
	for payload, want := range map[string]time.Time{
		`{"time":"` + happened.Format(time.RFC3339) + `","n":1}`: happened,
		`{"n":1}`:                         stored,
		`{"time":"yesterday"}`:            stored,
		`null`:                            stored,
		`{"time":"0001-01-01T00:00:00Z"}`: stored,
	} {
		got := eventLine(ui{}, bus.EventRecord{Position: 7, Time: stored, Event: "evt.turn.failed", Payload: json.RawMessage(payload)})
		if !strings.HasPrefix(got, want.Format(time.DateTime)+" #7") {
			t.Errorf("%s: %q", payload, got)
		}
	}
}

// All events can be named without a daemon and without the documentation.
func TestEventsList(t *testing.T) {
	none := []string{"HOME=" + t.TempDir()}
	code, text, _ := runMain(none, "events", "--list")
	if code != 0 || strings.Count(text, "\n") != len(facts()) || !strings.Contains(text, "turn.completed ") {
		t.Errorf("exit code %d, %s", code, text)
	}
	code, text, _ = runMain(none, "events", "--list", "--json", "evt.turn.*")
	names := decodeAs[[]eventName](t, []byte(text))
	if code != 0 || len(names) < 2 || !strings.HasPrefix(names[0].Event, "evt.turn.") || names[0].Meaning == "" {
		t.Errorf("exit code %d, %s", code, text)
	}
	if code, _, _ := runMain(none, "events", "--list", "nope"); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
}

func TestEventsUsage(t *testing.T) {
	h := newHouse(t)
	for name, tc := range map[string]struct {
		args []string
		says string
	}{
		"no pattern":         {[]string{"a..b"}, "is not a pattern"},
		"no such event":      {[]string{"turn.complete"}, "no event is called"},
		"an area":            {[]string{"turn"}, "did you mean 'turn.*'? All events are '>'"},
		"an area in full":    {[]string{"evt.turn"}, "did you mean 'evt.turn.*'?"},
		"one word":           {[]string{"*"}, "did you mean '>', all events?"},
		"not a duration":     {[]string{"--since", "never"}, "--since"},
		"both":               {[]string{"--since", "1h", "--seq", "3"}, "exclude each other"},
		"before the first":   {[]string{"--seq", "0"}, "--seq counts from 1"},
		"unquoted":           {[]string{"turn", "cost"}, "quote it"},
		"not a time to come": {[]string{"--since", "-1h"}, "--since"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := h.blufio(append([]string{"events"}, tc.args...)...)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, tc.says) || !strings.Contains(stderr, "hint:") {
				t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
			}
		})
	}
}
