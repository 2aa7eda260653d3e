// SPDX-License-Identifier: MIT OR Apache-2.0

package remote

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/outbound"
	"github.com/blufio/blufio/services/recall/embed"
)

// answer is what a server sends.
type answer struct {
	Data []struct {
		Index     *int   `json:"index"`
		Embedding vector `json:"embedding"`
	} `json:"data"`
	Usage struct {
		Prompt int `json:"prompt_tokens"`
		Total  int `json:"total_tokens"`
	} `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// vector is a list of numbers, or their bytes in base64: some servers send that whatever was asked for.
type vector []float32

// UnmarshalJSON implements json.Unmarshaler.
func (v *vector) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return json.Unmarshal(b, (*[]float32)(v))
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw)%4 != 0 {
		return errors.New("its vectors are no numbers in base64")
	}
	*v = make(vector, len(raw)/4)
	for i := range *v {
		(*v)[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return nil
}

// read takes the answer to a request for n vectors.
func (e *Embedder) read(ctx context.Context, r io.Reader, n int) ([][]float32, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, e.broken(ctx, err)
	}
	a, err := parse(b)
	if err != nil {
		return nil, e.malformed(err)
	}
	if len(a.Error) > 0 && string(a.Error) != "null" {
		return nil, e.explain(0, b)
	}
	if tokens := max(a.Usage.Prompt, a.Usage.Total); e.d.Used != nil && tokens > 0 {
		e.d.Used(tokens)
	}
	vectors, err := a.vectors(n)
	if err != nil {
		return nil, e.malformed(err)
	}
	for _, v := range vectors {
		if err := e.learn(len(v)); err != nil {
			return nil, err
		}
	}
	return vectors, nil
}

func parse(b []byte) (*answer, error) {
	a := &answer{}
	if err := json.Unmarshal(b, a); err != nil {
		return nil, errors.New("its answer is not JSON of vectors")
	}
	return a, nil
}

// vectors are those of n texts, in their order, with length 1.
func (a *answer) vectors(n int) ([][]float32, error) {
	if len(a.Data) != n {
		return nil, fmt.Errorf("it sent %d vectors for %d texts", len(a.Data), n)
	}
	out := make([][]float32, n)
	for i, d := range a.Data {
		at := i
		if d.Index != nil {
			at = *d.Index
		}
		switch {
		case at < 0 || at >= n || out[at] != nil:
			return nil, errors.New("it is unclear which vector is of which text")
		case len(d.Embedding) == 0 || len(d.Embedding) > maxDim:
			return nil, fmt.Errorf("it sent a vector of %d numbers", len(d.Embedding))
		case !embed.Normalize(d.Embedding):
			return nil, errors.New("it sent a vector that has no length")
		}
		out[at] = d.Embedding
	}
	return out, nil
}

// malformed is an answer that nobody can use.
func (e *Embedder) malformed(err error) *bus.Error {
	return bus.Errorf(bus.CodeInternal, "%s does not answer as OpenAI's Embeddings do: %s", e.host, err.Error()).WithHint("%s", e.urlHint())
}

// broken explains why an answer did not come to its end.
func (e *Embedder) broken(ctx context.Context, err error) error {
	var large *outbound.TooLargeError
	if errors.As(err, &large) {
		return e.malformed(large)
	}
	return e.unreached(ctx, err)
}
