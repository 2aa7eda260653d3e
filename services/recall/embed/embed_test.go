// SPDX-License-Identifier: MIT OR Apache-2.0

package embed_test

import (
	"context"
	"math"
	"testing"

	"github.com/blufio/blufio/services/recall/embed"
	"github.com/blufio/blufio/services/recall/embed/bert"
	"github.com/blufio/blufio/services/recall/embed/remote"
	"github.com/blufio/blufio/services/recall/embed/static"
)

// All three have the same methods.
var _ = []interface {
	Embed(ctx context.Context, texts []string) ([][]float32, error)
	Probe(ctx context.Context) error
	Name() string
	Dim() int
	Baseline() (all, anonymous int64)
	Shed() (int64, error)
	Close() error
}{static.Embedder{}, (*bert.Embedder)(nil), (*remote.Embedder)(nil)}

func TestNormalize(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct {
		v  []float32
		ok bool
	}{
		{[]float32{3, 4}, true}, {[]float32{1e-40, 0}, true}, {[]float32{math.MaxFloat32, -math.MaxFloat32}, true},
		{nil, false}, {[]float32{0, 0}, false}, {[]float32{1, inf}, false}, {[]float32{nan}, false},
	} {
		ok := embed.Normalize(c.v)
		var sum float64
		for _, x := range c.v {
			sum += float64(x) * float64(x)
		}
		if ok != c.ok || ok && math.Abs(sum-1) > 1e-5 {
			t.Errorf("%v: %v, length %v", c.v, ok, sum)
		}
	}
}
