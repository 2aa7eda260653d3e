// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/services"
)

var idShape = regexp.MustCompile(`^BLF-[A-Z]+-[0-9]{3}$`)

// Every check of every room stands in the table, with all that a person needs to know.
func TestTableOfChecks(t *testing.T) {
	var ids []string
	for _, c := range Checks() {
		ids = append(ids, c.ID)
		if !idShape.MatchString(c.ID) || c.Title == "" || c.Why == "" || c.Fix == "" || c.TimeoutMS <= 0 {
			t.Errorf("%+v", c)
		}
		area := strings.Split(c.ID, "-")[1]
		if !slices.ContainsFunc(services.Areas(), func(a services.Area) bool { return a.Name == area }) {
			t.Errorf("%s is of no area", c.ID)
		}
	}
	if !slices.IsSortedFunc(ids, services.CompareIDs) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("not in order, or twice: %v", ids)
	}
	live := (Options{}).probes(nil)
	for _, s := range furnished(t) {
		live = append(live, s.Door().Probes...)
	}
	seen := map[string]bool{}
	for _, p := range live {
		if !slices.Contains(ids, p.ID) || seen[p.ID] || p.Place == services.Outside {
			t.Errorf("%s is not in the table, or not the daemon's, or twice", p.ID)
		}
		seen[p.ID] = true
	}
	for _, c := range table() {
		if c.Place != services.Outside && !seen[c.ID] {
			t.Errorf("%s is made by nobody in the daemon", c.ID)
		}
	}
}
