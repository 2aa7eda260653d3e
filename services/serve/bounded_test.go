// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
)

func document(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var (
	fixedBound = regexp.MustCompile(`Bound of (blufio_\w+), fixed[.:]`)
	tableRow   = regexp.MustCompile(`(?m)^\| [^|]+ \| ([^|]+) \| [^|]+ \|$`)
	gaugeName  = regexp.MustCompile("`(blufio_\\w+)`")
)

// Every bound that no key sets has its reason in ARCHITECTURE.md, and none stands there
// that a key does set.
func TestFixedBoundsHaveTheirReason(t *testing.T) {
	fixed, reasons := map[string]bool{}, map[string]bool{}
	for _, m := range fixedBound.FindAllStringSubmatch(document(t, "METRICS.md"), -1) {
		fixed[m[1]] = true
	}
	_, table, _ := strings.Cut(document(t, "ARCHITECTURE.md"), "| fixed | gauges | why |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, row := range tableRow.FindAllStringSubmatch(table+"\n", -1) {
		for _, m := range gaugeName.FindAllStringSubmatch(row[1], -1) {
			if reasons[m[1]] {
				t.Errorf("%s has two reasons", m[1])
			}
			reasons[m[1]] = true
		}
	}
	if got, want := slices.Sorted(maps.Keys(reasons)), slices.Sorted(maps.Keys(fixed)); !slices.Equal(got, want) || len(want) < 20 {
		t.Errorf("ARCHITECTURE.md gives reasons for\n%q, fixed are\n%q", got, want)
	}
}

// ARCHITECTURE.md names all that is added up.
func TestBoundsAreNamed(t *testing.T) {
	text := strings.Join(strings.Fields(document(t, "ARCHITECTURE.md")), " ")
	_, list, _ := strings.Cut(text, "is added up before the start: ")
	list, _, _ = strings.Cut(list, "; together at most")
	var want []string
	for _, b := range Defaults().bounds() {
		want = append(want, b.what)
	}
	if list != strings.Join(want, ", ") {
		t.Errorf("it names %q, not %q", list, want)
	}
}

// What rooms hear and answer and what streams are fed with, all of it waiting, is what
// ARCHITECTURE.md says.
func TestWhatMayWaitForRooms(t *testing.T) {
	lanes, endpoints, streams := 0, 0, Defaults().Gateway.MaxStreams
	for _, s := range furnished(t) {
		for _, h := range s.Door().Hears {
			if h.Spec().Kind == bus.KindCall {
				endpoints++
			} else {
				lanes++
			}
		}
	}
	want := fmt.Sprintf("64 connections and %d lanes that rooms hear would hold 256 and %d MiB, %d endpoints %d MiB and the feeds of %d streams (`gateway.max_streams`) %d MiB",
		lanes, 4*lanes, endpoints, 8*endpoints, streams, 4*streams)
	if text := strings.Join(strings.Fields(document(t, "ARCHITECTURE.md")), " "); !strings.Contains(text, want) { // wherever its lines break
		t.Errorf("ARCHITECTURE.md does not say: %s", want)
	}
	if most := Defaults().Bus.MaxConns; most != 64 {
		t.Errorf("there may be %d connections", most)
	}
}
