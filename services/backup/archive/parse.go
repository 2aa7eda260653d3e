// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxTokens bounds the memory that a manifest takes once it is decoded: the smallest honest
// entry of a file has ten tokens in 110 bytes, a hostile one a token in two.
const maxTokens = MaxManifest / 10

// parseManifest is strict, but for the format, which it looks at first.
func parseManifest(text []byte) (Manifest, error) {
	m, err := decodeManifest(text)
	if err != nil && !errors.Is(err, ErrNewer) {
		err = foreign(fmt.Errorf("%s: %w", ManifestName, err))
	}
	return m, err
}

func decodeManifest(text []byte) (Manifest, error) {
	var head struct {
		Format  int    `json:"format"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return Manifest{}, err
	}
	if head.Format > Format {
		return Manifest{}, fmt.Errorf("%w: blufio %.40q wrote it in format %d, and this one reads up to %d", ErrNewer, head.Version, head.Format, Format)
	}
	if err := fewTokens(text); err != nil {
		return Manifest{}, err
	}
	var m Manifest
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return Manifest{}, err
	}
	return m, m.Check()
}

func fewTokens(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	for range maxTokens {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return errors.New("it has too many entries")
}
