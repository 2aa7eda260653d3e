// SPDX-License-Identifier: MIT OR Apache-2.0

package main

// mostRows bounds a CSV file that is kept, but for the rows on which a verdict rests.
const mostRows = 5000

// thin leaves about n samples: those on which a verdict rests, and of each run of
// neighbours the ones with the largest and the least resident set, so that the curve
// has its peaks and its minima. Every row of the report that comes from readings is the
// same of what is left.
func thin(all []sample, n int) []sample {
	if len(all) <= n {
		return all
	}
	keep := make([]bool, len(all))
	for _, i := range judgedBy(all) {
		keep[i] = true
	}
	for _, k := range keep {
		if k {
			n--
		}
	}
	for i, parts := 0, n/2; i < parts; i++ {
		from, to := i*len(all)/parts, (i+1)*len(all)/parts
		least, most := from, from
		for k := from; k < to; k++ {
			if all[k].rss > all[most].rss {
				most = k
			}
			if all[k].rss < all[least].rss {
				least = k
			}
		}
		keep[least], keep[most] = true, true
	}
	var out []sample
	for i, k := range keep {
		if k {
			out = append(out, all[i])
		}
	}
	return out
}

// judgedBy are the indices of the samples on which verdicts rest; some come twice.
func judgedBy(all []sample) (out []int) {
	for from, to := 0, 0; from < len(all); from = to {
		level := int64(unknown) // so that of each phase the first level is kept too
		for to = from; to < len(all) && all[to].phase == all[from].phase; to++ {
			if p := all[to].pressure; p != unknown && p != level {
				level, out = p, append(out, to)
			}
		}
		out = append(out, from, to-1)
		if p := all[from].phase; p == idle || p == rest {
			for i := from + fromLastScrape(all[from:to]); i < to; i++ {
				out = append(out, i)
			}
		}
		for _, of := range []func(sample) int64{
			func(s sample) int64 { return s.rss }, func(s sample) int64 { return s.anonymous },
			func(s sample) int64 { return s.pressure }, func(s sample) int64 { return s.refused },
		} {
			most := from
			for i := from; i < to; i++ {
				if of(all[i]) > of(all[most]) {
					most = i
				}
			}
			out = append(out, most)
		}
	}
	for _, phase := range []string{steady, million} {
		c := courseOf(all, phase)
		from, each, _ := c.fitted()
		for _, i := range lows(c.at, c.size, from, each) {
			out = append(out, c.index[i])
		}
	}
	return out
}
