// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"fmt"
	"testing"
	"time"

	"github.com/blufio/blufio/services/recall/embed/modeltest"
	"golang.org/x/sys/unix"
)

// BenchmarkEmbed measures a model with the shape of all-MiniLM-L6-v2, on one core: it works with one.
func BenchmarkEmbed(b *testing.B) {
	for _, form := range []struct {
		name string
		modeltest.Form
	}{{"float32", modeltest.Float32}, {"int8", modeltest.Dynamic8}, {"int8-channels", modeltest.Channels8}} {
		e := open(b, modeltest.Make(b, modeltest.MiniLM(form.Form)), Options{})
		for _, tokens := range []int{16, 64, 128, 256} {
			text := modeltest.Tokens(tokens)
			if n := len(e.words.Encode(nil, text, 512)); n != tokens {
				b.Fatalf("%d tokens, not %d", n, tokens)
			}
			b.Run(fmt.Sprintf("%s/%d", form.name, tokens), func(b *testing.B) {
				best, used := time.Hour, spent(b) // on a busy machine they tell more than the mean
				for b.Loop() {
					began := time.Now()
					if _, err := e.Embed(b.Context(), []string{text}); err != nil {
						b.Fatal(err)
					}
					best = min(best, time.Since(began))
				}
				b.ReportMetric(best.Seconds()*1000, "best-ms/op")
				b.ReportMetric((spent(b)-used).Seconds()*1000/float64(b.N), "cpu-ms/op")
			})
		}
	}
}

// spent is the processor's time of this process.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
