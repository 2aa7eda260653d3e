// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/services/recall/embed/modeltest"
)

// holder is set for a process that does nothing but hold a model: the directory.
const holder = "BLUFIO_TEST_HOLD_MODEL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holder); dir != "" {
		if err := hold(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// hold works with a model and says what memory that takes: before, after one text, after many, and after shedding.
func hold(dir string) error {
	say := func(when string) {
		runtime.GC()
		debug.FreeOSMemory()
		fmt.Printf("%s %d %d\n", when, status("VmRSS"), status("RssAnon"))
	}
	ctx := context.Background()
	say("before")
	began := time.Now()
	e, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	fmt.Printf("opened %d 0\n", time.Since(began).Microseconds())
	say("open")
	if _, err := e.Embed(ctx, []string{strings.Repeat("cat ", 14)}); err != nil {
		return err
	}
	say("one")
	for i := range 4 {
		var text strings.Builder
		for j := range 250 { // words from everywhere in the vocabulary
			fmt.Fprintf(&text, "%c%c ", 'a'+rune((i*7+j)%26), 'a'+rune(j%26))
		}
		if _, err := e.Embed(ctx, []string{text.String()}); err != nil {
			return err
		}
	}
	say("many")
	all, anonymous := e.Baseline()
	fmt.Printf("baseline %d %d\n", all, anonymous)
	if _, err := e.Shed(); err != nil {
		return err
	}
	say("shed")
	return e.Close()
}

// status reads a size of this process, in bytes.
func status(key string) int64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), key+":"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// held runs a process that holds a model, and returns what it said.
func held(t testing.TB, dir string) map[string][2]int64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holder+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	said := map[string][2]int64{}
	for line := range strings.Lines(string(out)) {
		var when string
		var v [2]int64
		if n, _ := fmt.Sscan(line, &when, &v[0], &v[1]); n == 3 {
			said[when] = v
		}
	}
	return said
}

// A process that holds a model gives nearly all of it back, and its own memory stays small.
func TestHeld(t *testing.T) {
	if raced {
		t.Skip("the race detector takes memory of its own")
	}
	said := held(t, modeltest.Make(t, modeltest.Spec{Layers: 2, Width: 512, Heads: 8, Inner: 2048, Positions: 256}))
	const mb = 1 << 20
	before, many, shed := said["before"], said["many"], said["shed"]
	if before[0] == 0 || many[0]-before[0] < 15*mb {
		t.Fatalf("%v: the weights of 25 MB were not in use", said)
	}
	if own := many[1] - before[1]; own > 8*mb {
		t.Errorf("%d bytes of its own", own)
	}
	if left := shed[0] - before[0]; left > 8*mb {
		t.Errorf("%d bytes are left after shedding", left)
	}
}

// BenchmarkMemory prints what a process takes that holds a model of the shape of all-MiniLM-L6-v2: 90 MB, or 23 MB in 8 bits.
func BenchmarkMemory(b *testing.B) {
	for _, form := range []struct {
		name string
		modeltest.Form
	}{{"float32", modeltest.Float32}, {"int8", modeltest.Dynamic8}} {
		b.Run(form.name, func(b *testing.B) {
			dir := modeltest.Make(b, modeltest.MiniLM(form.Form))
			var said map[string][2]int64
			for b.Loop() {
				said = held(b, dir)
			}
			mb := func(n int64) float64 { return float64(n) / (1 << 20) }
			for _, when := range []string{"before", "open", "one", "many", "shed"} {
				b.ReportMetric(mb(said[when][0]), "MB-rss-"+when)
				b.ReportMetric(mb(said[when][1]), "MB-anonymous-"+when)
			}
			b.ReportMetric(mb(said["baseline"][0]), "MB-baseline")
			b.ReportMetric(float64(said["opened"][0])/1000, "ms-open")
			b.ReportMetric(0, "ns/op")
			if rss, own := said["many"][0], said["many"][1]; rss > 60<<20 || own > 8<<20 {
				b.Errorf("%.1f MB resident, %.1f MB of its own; 60 and 8 are allowed", mb(rss), mb(own))
			}
		})
	}
}
