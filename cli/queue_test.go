// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

func deadLetterHouse(t *testing.T, n int) *house {
	house := newHouse(t)
	for i := range n {
		house.dead = append(house.dead, bus.Letter{Kind: bus.LetterMessage, ID: fmt.Sprint("m", i), Channel: "gateway", Session: "red \x1b[31m",
			State: bus.StateDead, Since: time.Now().Add(-time.Hour), Attempts: 3, Error: "internal", Text: "line\nand \x1b[2Jmore"})
	}
	return house
}

// Nothing is deleted before the owner has said yes, and the number is told first.
func TestDropAsksOnATerminal(t *testing.T) {
	for answer, want := range map[string]struct{ dropped, code int }{"y\n": {5, 0}, "YES\n": {5, 0}, "\n": {0, 1}, "n\n": {0, 1}, "yep\n": {0, 1}, "\x04": {0, 1}} {
		house := deadLetterHouse(t, 5)
		main, tty := openTerminal(t)
		s := watchScreen(main)
		code := make(chan int)
		go func() { code <- Main([]string{"queue", "drop", "--all"}, tty, tty, tty, house.environ("TERM=xterm")) }()
		s.wait(t, "delete 5 dead letters for good? [y/N]")
		if _, err := main.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		if got := <-code; got != want.code {
			t.Errorf("%q: exit code %d", answer, got)
		}
		if got := house.deleted(); got != want.dropped {
			t.Errorf("%q: dropped %d", answer, got)
		}
		main.Close()
	}
}

func TestDropWithoutATerminal(t *testing.T) {
	house := deadLetterHouse(t, 250)
	if code, _, stderr := house.blufio("queue", "drop", "--all"); code != exitUsage || !strings.Contains(stderr, "--yes") || house.deleted() != 0 {
		t.Errorf("exit code %d, %s, dropped %d", code, stderr, house.deleted())
	}
	if code, stdout, _ := house.blufio("queue", "drop", "--all", "--yes"); code != 0 || stdout != "ok   deleted: 250 messages, 0 replies\n" || house.deleted() != 250 {
		t.Errorf("exit code %d, %q, dropped %d", code, stdout, house.deleted())
	}
}

// What strangers wrote does not steer the terminal, and pages are put together.
func TestQueueList(t *testing.T) {
	house := deadLetterHouse(t, 5)
	code, stdout, stderr := house.blufio("queue", "list", "--text")
	if code != 0 || strings.Contains(stdout, "\x1b") || strings.Count(stdout, "  line and [2Jmore\n") != 5 || !strings.Contains(stdout, "1h") || stderr != "" {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, _ = house.blufio("queue", "list", "--json", "--limit", "4")
	list := decodeAs[queueList](t, []byte(stdout))
	if code != 0 || list.Schema != "blufio.queue/1" || len(list.Letters) != 4 || !list.More || list.Letters[3].ID != "m3" {
		t.Errorf("exit code %d, %+v", code, list)
	}
}
