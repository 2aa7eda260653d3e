// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"testing"

	"github.com/blufio/blufio/services/recall/embed/modeltest"
)

func open(t testing.TB, dir string, o Options) *Embedder {
	t.Helper()
	e, err := Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestTry(t *testing.T) {
	for f := modeltest.Float32; f <= modeltest.Weights8; f++ {
		e := open(t, modeltest.Make(t, modeltest.Spec{Form: f}), Options{})
		v, err := e.Embed(t.Context(), []string{"the cat sits on the mat"})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(e.Name(), v[0][:6])
	}
}
