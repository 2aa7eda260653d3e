// SPDX-License-Identifier: MIT OR Apache-2.0

package index

import (
	"math"
	"math/bits"
)

const (
	firstRoom = 8    // rows of an owner's first chunk
	laterRoom = 256  // of a further one; both double up to mostRoom
	mostRoom  = 1024 // of every chunk but the last
)

// segment holds one owner's vectors, in rows without gaps.
type segment struct {
	owner  string
	words  int
	rows   int
	chunks []*chunk
}

// chunk holds rows. What stands for a row in sign makes its plane of signs comparable with others, and scale all its planes.
type chunk struct {
	rows, room  int
	ids         []int64
	sign, scale []float32
	planes      [][]uint64 // the highest bit first, which is the sign
}

// rowBytes is what a row takes.
func rowBytes(words, bits int) int64 { return int64(8*words*bits + 16) }

func newChunk(room, words, planes int) *chunk {
	c := &chunk{room: room, ids: make([]int64, room), sign: make([]float32, room), scale: make([]float32, room), planes: make([][]uint64, planes)}
	for b := range c.planes {
		c.planes[b] = make([]uint64, room*words)
	}
	return c
}

// resize moves the rows into more or less room.
func (c *chunk) resize(room, words int) {
	n := newChunk(room, words, len(c.planes))
	n.rows = c.rows
	copy(n.ids, c.ids[:c.rows])
	copy(n.sign, c.sign[:c.rows])
	copy(n.scale, c.scale[:c.rows])
	for b := range n.planes {
		copy(n.planes[b], c.planes[b][:c.rows*words])
	}
	*c = *n
}

// at is where a row lies.
func (g *segment) at(row int) (*chunk, int) { return g.chunks[row/mostRoom], row % mostRoom }

func (g *segment) last() *chunk { return g.chunks[len(g.chunks)-1] }

// growth is how many bytes one more row takes.
func (g *segment) growth(planes int) int64 {
	rows := laterRoom
	switch {
	case len(g.chunks) == 0:
		rows = firstRoom
	case g.last().rows < g.last().room:
		return 0
	case g.last().room < mostRoom:
		rows = g.last().room // as many again
	}
	return int64(rows) * rowBytes(g.words, planes)
}

// grow adds a row, and returns it.
func (g *segment) grow(planes int) int {
	switch {
	case len(g.chunks) == 0:
		g.chunks = append(g.chunks, newChunk(firstRoom, g.words, planes))
	case g.last().rows < g.last().room:
	case g.last().room < mostRoom:
		g.last().resize(2*g.last().room, g.words)
	default:
		g.chunks = append(g.chunks, newChunk(laterRoom, g.words, planes))
	}
	g.last().rows++
	g.rows++
	return g.rows - 1
}

// write writes a vector into a row.
func (g *segment) write(row int, id int64, s *scratch) {
	c, i := g.at(row)
	c.ids[i], c.sign[i], c.scale[i] = id, s.sign, s.scales[len(c.planes)-1]
	for b, p := range c.planes {
		copy(p[i*g.words:(i+1)*g.words], s.row[b])
	}
}

// moveLast moves the last row to where another was, and returns its id.
func (g *segment) moveLast(row int) int64 {
	from, i := g.at(g.rows - 1)
	to, j := g.at(row)
	to.ids[j], to.sign[j], to.scale[j] = from.ids[i], from.sign[i], from.scale[i]
	for b := range to.planes {
		copy(to.planes[b][j*g.words:(j+1)*g.words], from.planes[b][i*g.words:])
	}
	return from.ids[i]
}

// dropLast takes the last row away, and returns how many bytes that freed.
func (g *segment) dropLast() int64 {
	c := g.last()
	c.rows--
	g.rows--
	least, freed := laterRoom, 0
	if len(g.chunks) == 1 {
		least = firstRoom
	}
	switch {
	case c.rows == 0:
		freed = c.room
		g.chunks[len(g.chunks)-1] = nil
		g.chunks = g.chunks[:len(g.chunks)-1]
	case c.rows <= c.room/4 && c.room > least:
		freed = c.room / 2
		c.resize(c.room/2, g.words)
	}
	return int64(freed) * rowBytes(g.words, len(c.planes))
}

// coarsen gives up the lowest plane, and returns how many bytes that freed.
func (g *segment) coarsen() (freed int64) {
	for _, c := range g.chunks {
		b := len(c.planes) - 1
		for i := range c.rows {
			c.scale[i] = coarser(c.planes, i*g.words, g.words, c.scale[i])
		}
		c.planes[b] = nil
		c.planes = c.planes[:b]
		freed += int64(8 * g.words * c.room)
	}
	return freed
}

// coarser is the scale of a row without its lowest plane, as if the row with it were the vector itself.
func coarser(planes [][]uint64, at, words int, scale float32) float32 {
	if scale == 0 {
		return 0
	}
	n := len(planes)
	var ones [maxBits]int
	var both [maxBits][maxBits]int
	for a := range n {
		for b := a; b < n; b++ {
			for w := at; w < at+words; w++ {
				both[a][b] += bits.OnesCount64(planes[a][w] & planes[b][w])
			}
			both[b][a] = both[a][b]
		}
		ones[a] = both[a][a]
	}
	self := product(&both, &ones, n, n, 64*words)
	return float32(math.Sqrt(self) / product(&both, &ones, n, n-1, 64*words))
}

// product is that of a row in so many planes with itself in so many, each number counted from the middle of its range.
func product(both *[maxBits][maxBits]int, ones *[maxBits]int, n, m, numbers int) (sum float64) {
	middle := func(n int) float64 { return float64(int(1)<<n-1) / 2 }
	for a := range n {
		for b := range m {
			sum += math.Ldexp(float64(both[a][b]), n-1-a+m-1-b)
		}
		sum -= math.Ldexp(float64(ones[a]), n-1-a) * middle(m)
	}
	for b := range m {
		sum -= math.Ldexp(float64(ones[b]), m-1-b) * middle(n)
	}
	return sum + float64(numbers)*middle(n)*middle(m)
}
