// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/roomtest"
)

// A process that was ended under pressure is followed by one that says that it is over,
// once, and with numbers of its own; and after that nobody says anything.
func TestPressureEndsWithTheProcess(t *testing.T) {
	for _, tc := range []struct {
		ended, begins int // MiB of 100
		want          []string
	}{
		{97, 10, []string{"normal>critical", "critical>normal"}},
		{85, 10, []string{"normal>warn", "warn>normal"}},
		{97, 85, []string{"normal>critical", "critical>warn"}},
		{97, 97, []string{"normal>critical"}},
		{50, 10, nil},
	} {
		t.Run(fmt.Sprintf("%d, then %d MiB", tc.ended, tc.begins), func(t *testing.T) {
			b := newBench(t)
			b.rss(tc.ended)
			b.step()
			b.flush()
			for range 2 {
				b.again()
				b.set(statmFile) // it cannot be read at first
				stop := roomtest.Start(t, bustest.New(t), b.Service)
				b.rss(tc.begins)
				bustest.Eventually(t, "it is read", func() bool { return b.last().RSS == int64(tc.begins)<<20 })
				stop()
				if got := b.said(); !slices.Equal(got, tc.want) {
					t.Errorf("said %v, want %v", got, tc.want)
				}
			}
			rows, err := b.events.After(t.Context(), 0, 100)
			for _, r := range rows {
				if strings.Contains(string(r.Payload), `"rss_bytes":0`) {
					t.Errorf("said without a reading: %s", r.Payload)
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// Where it cannot be found out what was said, it is said again.
func TestPressureIsSaidAgain(t *testing.T) {
	b := newBench(t)
	b.rss(85)
	b.step()
	b.flush()
	b.again()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.takeUp(ctx)
	b.rss(10)
	b.step()
	b.flush()
	b.step()
	b.flush()
	if got := b.said(); !slices.Equal(got, []string{"normal>warn", "normal>normal"}) {
		t.Errorf("said %v", got)
	}
}
