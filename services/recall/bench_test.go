// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/recall/recalltest"
)

func filled(b *testing.B, n int) (*rig, []string) {
	r := newRig(b, nil)
	all := recalltest.Facts(n)
	for at := 0; at < n; at += bus.RecallMaxBatch {
		var batch bus.RecallBatch
		for i := at; i < min(n, at+bus.RecallMaxBatch); i++ {
			batch.Entries = append(batch.Entries, bus.RecallEntry{ID: id(i), Owner: "terminal:owner", Text: all[i], Source: bus.RecallModel, Importance: 0.5, At: noon})
		}
		if _, err := bus.RecallImport.Ask(b.Context(), r.ask, batch); err != nil {
			b.Fatal(err)
		}
	}
	for r.state().Pending > 0 || r.number(`SELECT count(*) FROM recall_vector`) == 0 {
		r.rest(b.Context(), 1)
	}
	r.find(all[0])
	return r, all
}

// used is the processor time of this process.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A search over the bus, among 10 000 facts of one person.
func BenchmarkSearch10000(b *testing.B) {
	r, all := filled(b, 10_000)
	began := used(b)
	for i := 0; b.Loop(); i++ {
		out, err := bus.RecallSearch.Ask(b.Context(), r.ask, bus.RecallQuery{Owner: "terminal:owner", Text: recalltest.Question(all, i), Limit: 12, MaxBytes: 2400})
		if err != nil || len(out.Hits) == 0 {
			b.Fatal("nothing is found")
		}
	}
	b.ReportMetric(float64((used(b)-began).Microseconds())/1000/float64(b.N), "cpu-ms/op") // says more than time where others work too
	st := r.state()
	b.ReportMetric(float64(st.IndexBytes)/(1<<20), "index-MiB")
}

// Facts added over the bus, one after another.
func BenchmarkAdd(b *testing.B) {
	r, all := filled(b, 2000)
	for i := 0; b.Loop(); i++ {
		r.keep(fmt.Sprint("new-", i), fmt.Sprint(all[i%len(all)], " again ", i))
	}
}
