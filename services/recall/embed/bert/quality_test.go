// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"os"
	"testing"
)

// What means the same is nearer than what does not, with the weights of whoever runs this: BLUFIO_TEST_MODEL_DIR is a
// directory with all-MiniLM-L6-v2 or its like.
func TestQuality(t *testing.T) {
	dir := os.Getenv("BLUFIO_TEST_MODEL_DIR")
	if dir == "" {
		t.Skip("BLUFIO_TEST_MODEL_DIR is not set")
	}
	e := open(t, dir, Options{})
	t.Logf("%s, %d tokens, %d numbers", e.Name(), e.MaxTokens(), e.Dim())
	for _, c := range []struct{ text, same, other string }{
		{"A man is eating food.", "Someone is having a meal.", "The stock market fell today."},
		{"How do I reset my password?", "I forgot the secret for my login.", "What is the weather like in Paris?"},
		{"My sister lives in Norway.", "She has a sibling whose home is Oslo.", "The recipe needs two eggs."},
		{"The cat sits outside.", "A kitten is in the garden.", "He plays the guitar on stage."},
		{"I am allergic to peanuts.", "Nuts make me ill.", "The train leaves at noon."},
		{"The meeting was moved to Thursday.", "We meet on Thursday instead.", "Our dog likes the sea."},
	} {
		v, err := e.Embed(t.Context(), []string{c.text, c.same, c.other})
		if err != nil {
			t.Fatal(err)
		}
		same, other := dot(v[0], v[1]), dot(v[0], v[2])
		t.Logf("%.3f %.3f %s", same, other, c.text)
		if same < other+0.1 {
			t.Errorf("%q is at %.3f to %q and at %.3f to %q", c.text, same, c.same, other, c.other)
		}
	}
}
