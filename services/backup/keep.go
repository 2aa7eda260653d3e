// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"fmt"
	"slices"
	"time"
)

// stored is an archive in the schedule's directory.
type stored struct {
	name   string
	node   string    // as it stands in the name
	at     time.Time // when it was begun, by its name
	bytes  int64
	sealed bool
}

// keep says how many backups stay.
type keep struct{ daily, weekly, monthly int }

func (c Config) keep() keep { return keep{c.KeepDaily, c.KeepWeekly, c.KeepMonthly} }

// spared are those of all that stay: the newest of each of the last days, weeks and months
// that have any, the newest of all, and the one that was verified last. Days are the
// owner's, so loc counts; weeks begin on Monday.
//
// What is counted are periods that have a backup. After a month without the daemon nothing
// goes because of its age alone.
func (k keep) spared(all []stored, verified string, loc *time.Location) map[string]bool {
	newest := slices.SortedFunc(slices.Values(all), newer)
	stay := map[string]bool{}
	for i, s := range newest {
		if i == 0 || s.name == verified {
			stay[s.name] = true
		}
	}
	for _, rule := range []struct {
		most   int
		period func(time.Time) string
	}{{k.daily, day}, {k.weekly, week}, {k.monthly, month}} {
		periods := map[string]bool{}
		for _, s := range newest {
			p := rule.period(s.at.In(loc))
			if len(periods) == rule.most {
				break
			}
			if !periods[p] {
				periods[p], stay[s.name] = true, true
			}
		}
	}
	return stay
}

// expired are the others, oldest first.
func (k keep) expired(all []stored, verified string, loc *time.Location) []stored {
	stay := k.spared(all, verified, loc)
	gone := slices.DeleteFunc(slices.Clone(all), func(s stored) bool { return stay[s.name] })
	slices.SortFunc(gone, func(a, b stored) int { return newer(b, a) })
	return gone
}

// newer orders the newest first; of two of the same second, by name.
func newer(a, b stored) int {
	if d := b.at.Compare(a.at); d != 0 {
		return d
	}
	if a.name > b.name {
		return -1
	}
	return 1
}

func day(t time.Time) string   { return t.Format(time.DateOnly) }
func month(t time.Time) string { return t.Format("2006-01") }
func week(t time.Time) string {
	y, w := t.ISOWeek()
	return fmt.Sprintf("%d-%d", y, w)
}
