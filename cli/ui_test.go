// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file, in which escapes are readable.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	got = strings.ReplaceAll(got, "\x1b", "␛")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// More of a limit is worse, more of a task is better.
func TestProgressIsNotAlarming(t *testing.T) {
	u := ui{rich: true}
	if got, want := u.progress(100, 100), u.green(strings.Repeat("█", barWidth)); !strings.HasPrefix(got, want) {
		t.Errorf("what is done is %q", got)
	}
	if got := u.bar(100, 100); !strings.HasPrefix(got, u.red(strings.Repeat("█", barWidth))) {
		t.Errorf("what is used up is %q", got)
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		used, limit int64
		want        string
	}{
		{0, 100, "[--------------------]"},
		{1, 1000, "[#-------------------]"},
		{50, 100, "[##########----------]"},
		{100, 100, "[####################]"},
		{900, 100, "[####################]"},
		{-5, 100, "[--------------------]"},
		{5, 0, ""},
	} {
		if got := (ui{}).bar(c.used, c.limit); got != c.want {
			t.Errorf("bar(%d, %d) = %q, want %q", c.used, c.limit, got, c.want)
		}
	}
	rich := ui{rich: true}
	for used, color := range map[int64]string{10: "\x1b[32m", 80: "\x1b[33m", 95: "\x1b[31m"} {
		if got := rich.bar(used, 100); !strings.HasPrefix(got, color) {
			t.Errorf("bar(%d, 100) = %q, want it to begin with %q", used, got, color)
		}
	}
}

func TestTableAlignsByWhatIsSeen(t *testing.T) {
	u := ui{rich: true}
	got := table([][]string{{u.red("ä"), "1", "x"}, {"bcd", "100", u.green("y")}}, 1)
	want := u.red("ä") + "      1  x\nbcd  100  " + u.green("y") + "\n"
	if got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestCleanDisarms(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":               "plain\ttext\n",
		"\x1b]0;title\x07red\x1b[31m": "]0;titlered[31m",
		"back\rto\bstart\x7f":         "backtostart",
		"\u009b31mC1":                 "31mC1",
		"abc\u202edef\u2066":          "abcdef",
		"héllo ✔ 日本":                  "héllo ✔ 日本",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := line("one\n\n two\tthree\r"); got != "one  two three" {
		t.Errorf("line: %q", got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[2J\u009b1m\x00\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		if got := line(s); strings.ContainsAny(got, "\x00\x07\x08\x0a\x0d\x1b\x7f\u009b\u202e") {
			t.Errorf("line(%q) = %q", s, got)
		}
	})
}

// TestWhoGetsColour: a stream that is no terminal is always plain.
func TestWhoGetsColour(t *testing.T) {
	main, tty := openTerminal(t)
	defer main.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, c := range []struct {
		name    string
		w       *os.File
		plain   bool
		environ []string
		want    bool
	}{
		{"terminal", tty, false, []string{"TERM=xterm"}, true},
		{"--plain", tty, true, nil, false},
		{"NO_COLOR", tty, false, []string{"NO_COLOR=1"}, false},
		{"empty NO_COLOR", tty, false, []string{"NO_COLOR="}, true},
		{"dumb", tty, false, []string{"TERM=dumb"}, false},
		{"file", file, false, []string{"TERM=xterm"}, false},
	} {
		a := &app{plain: c.plain, environ: c.environ}
		if got := a.ui(c.w).rich; got != c.want {
			t.Errorf("%s: rich = %v", c.name, got)
		}
	}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) *time.Time { t := noon.Add(-d); return &t }

// sick is a status with everything that can be wrong, and text that fights back.
func sick() bus.Status {
	daily := bus.USD(1)
	evil := "connection\nrefused \x1b[2J"
	return bus.Status{
		Schema: bus.StatusSchema, State: bus.Degraded, Time: noon, Version: "1.2.3", Node: "attic", PID: 42, UptimeSeconds: 273900,
		Provider: "anthropic", Model: "some-model",
		Sessions: &bus.SessionCounts{Active: 2, Total: 14, Interrupted: 1},
		Memory:   &bus.Memory{Heap: 90 << 20, RSS: 171 << 20, Limit: 200 << 20, Used: 85, Pressure: bus.PressureWarn},
		Cost:     &bus.CostStatus{Today: 970_000, Month: 12_345_678, DailyLimit: &daily, Stopped: true},
		Channels: []bus.Channel{
			{Name: "telegram", State: bus.Degraded, LastSuccess: at(3 * time.Hour), LastError: &evil, LastErrorAt: at(time.Minute)},
			{Name: "gateway", State: bus.Healthy, LastSuccess: at(3 * time.Minute)},
			{Name: "terminal", State: bus.Stopped},
		},
		Queues: &bus.QueueDepths{Inbox: 3, Outbox: 1, Dead: 2},
		Services: []bus.ServiceStatus{
			{Name: "relay", State: bus.Degraded, Restarts: 2, Problems: []bus.Problem{
				{Code: "stream_down", Title: "events are not kept for replay", Hint: "free some disk space"}}},
			{Name: "agent", State: bus.Healthy}, {Name: "cost", State: bus.Healthy, Restarts: 1},
			{Name: "gateway", State: bus.Healthy},
		},
		Backup: bus.BackupStatus{LastSuccess: at(20 * time.Hour), Bytes: 9 << 20, Seconds: 1.25, LastDrilled: at(50 * time.Hour), LastFailure: at(time.Hour)},
	}
}

func TestDashboard(t *testing.T) {
	past := picture{Status: sick(), last: at(26 * time.Hour)}
	past.stop()
	past.last = nil // shown in local time: set below
	for name, p := range map[string]picture{
		"sick":  {Status: sick()},
		"empty": {Status: bus.Status{State: bus.Healthy, Version: "1.2.3", Node: "attic", PID: 42}},
	} {
		golden(t, "status_"+name+".plain", dashboard(ui{}, p, noon))
		golden(t, "status_"+name+".rich", dashboard(ui{rich: true, tty: true}, p, noon))
	}
	past.last = at(26 * time.Hour)
	got := dashboard(ui{}, past, noon)
	if !strings.Contains(got, "is not running; last known at ") || !strings.Contains(got, "(1d ago)") || strings.Contains(got, "services") {
		t.Errorf("the past:\n%s", got)
	}
}

// A resident set that is larger than the control group's limit looks like no trouble while
// it is none.
func TestDashboardShowsTheShareThatCounts(t *testing.T) {
	for _, tc := range []struct {
		m    bus.Memory
		want string
	}{
		{bus.Memory{RSS: 138 << 20, Limit: 128 << 20, Used: 69, Pressure: bus.PressureNormal},
			"memory    [##############------] 69 % taken, 138.0 MiB resident, limit 128.0 MiB, heap 0 B\n"},
		{bus.Memory{RSS: 138 << 20, Limit: 128 << 20, Pressure: bus.PressureNormal}, // told by an older daemon
			"memory    138.0 MiB resident, limit 128.0 MiB, heap 0 B\n"},
	} {
		if got := dashboard(ui{}, picture{Status: bus.Status{State: bus.Healthy, Memory: &tc.m}}, noon); !strings.Contains(got, tc.want) {
			t.Errorf("got\n%swant %s", got, tc.want)
		}
	}
}

func TestCostTable(t *testing.T) {
	golden(t, "cost.plain", costTable(ui{}, bus.CostSummary{
		Today: 970_000, Month: 12_345_678, Reserved: 1500, DailyLimit: bus.USD(1), Stopped: true, StoppedReason: "strange\nbill",
		Models: []bus.ModelCost{
			{Model: "big", Calls: 1200, Usage: bus.Usage{Input: 1_000_000, Output: 20, CacheRead: 5}, Amount: 12_000_000},
			{Model: "a-small-one", Calls: 3, Amount: 345_678},
		},
	}))
}

func TestMessageText(t *testing.T) {
	a := &app{now: func() time.Time { return noon }}
	golden(t, "message.plain", strings.ReplaceAll(a.describe(bus.MessageRecord{
		ID: "m1", Session: "main", Channel: "terminal", State: bus.StateFailed, Text: "hello\n\x1b[31mworld", Reply: "no\x07 luck",
		Error: bus.CodeBudget, ReceivedAt: noon.Add(-time.Minute),
	}), noon.Add(-time.Minute).Local().Format("2006-01-02 15:04:05"), "TIME"))
}
