// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
)

// size writes bytes with a binary unit: "812 B", "34.2 MiB".
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	value := float64(n)
	for i, unit := range units {
		value /= 1024
		if value < 1023.95 || i == len(units)-1 {
			return fmt.Sprintf("%.1f %s", value, unit)
		}
	}
	return "" // not reached: the last unit takes everything
}

// span writes a duration by its two largest units: "4 s", "12m 5s", "3d 4h".
func span(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return two(s/60, "m", s%60, "s")
	case s < 86400:
		return two(s/3600, "h", s%3600/60, "m")
	}
	return two(s/86400, "d", s%86400/3600, "h")
}

func two(a int64, unitA string, b int64, unitB string) string {
	if b == 0 {
		return fmt.Sprintf("%d%s", a, unitA)
	}
	return fmt.Sprintf("%d%s %d%s", a, unitA, b, unitB)
}

// ago writes how long before now t was, by its largest unit: "3m ago". A clock that
// runs ahead of ours makes it "just now", an absent time "never".
func ago(t *time.Time, now time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	s := int64(now.Sub(*t) / time.Second)
	switch {
	case s < 5:
		return "just now"
	case s < 60:
		return fmt.Sprintf("%ds ago", s)
	case s < 3600:
		return fmt.Sprintf("%dm ago", s/60)
	case s < 86400:
		return fmt.Sprintf("%dh ago", s/3600)
	}
	return fmt.Sprintf("%dd ago", s/86400)
}

// moment writes a time with how long ago it was.
func moment(t time.Time, now time.Time) string {
	return t.Local().Format("2006-01-02 15:04:05") + " (" + ago(&t, now) + ")"
}

// percent of used in limit, rounded down, so that 100 % means all of it.
func percent(used, limit int64) string {
	if limit <= 0 {
		return ""
	}
	return fmt.Sprintf("%d %%", int64(float64(used)/float64(limit)*100))
}

// spent writes money against a limit; nil or zero is none.
func spent(m bus.MicroUSD, limit *bus.MicroUSD) string {
	if limit == nil || *limit == 0 {
		return m.String() + " (no limit)"
	}
	return fmt.Sprintf("%s of %s (%s)", m, *limit, percent(int64(m), int64(*limit)))
}

// plural is "1 restart" or "2 restarts".
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
