// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// settings is what the files beside a model say. Zero is what none says.
type settings struct {
	heads     int
	eps       float32
	maxTokens int
	pooling   pooling
}

// pooling is how one vector is made of a token's each.
type pooling byte

const (
	meanPooling pooling = iota
	firstPooling
)

func (p pooling) String() string {
	if p == firstPooling {
		return "cls"
	}
	return "mean"
}

const maxSettings = 1 << 20 // bytes of one of the files

// readSettings reads what is there.
func readSettings(dir string) (*settings, error) {
	s := &settings{}
	for _, f := range []struct {
		name string
		read func([]byte) error
	}{
		{"config.json", s.config},
		{"tokenizer_config.json", s.tokenizer},
		{"sentence_bert_config.json", s.sentence}, // after the one before: it counts
		{"1_Pooling/config.json", s.pool},
		{"modules.json", s.modules},
	} {
		b, err := readSmall(filepath.Join(dir, f.name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = f.read(b)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.name, err)
		}
	}
	return s, nil
}

// readSmall reads a file of settings.
func readSmall(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if len(b) > maxSettings {
		err = fmt.Errorf("it has more than %d KB", maxSettings>>10)
	}
	return b, err
}

// config takes config.json.
func (s *settings) config(b []byte) error {
	c := struct {
		Kind       string  `json:"model_type"`
		Heads      int     `json:"num_attention_heads"`
		Activation string  `json:"hidden_act"`
		Eps        float32 `json:"layer_norm_eps"`
		Positions  string  `json:"position_embedding_type"`
	}{Kind: "bert", Activation: "gelu", Positions: "absolute"}
	if err := json.Unmarshal(b, &c); err != nil {
		return err
	}
	for _, x := range []struct{ what, is, want string }{
		{"model_type", c.Kind, "bert"},
		{"hidden_act", c.Activation, "gelu"},
		{"position_embedding_type", c.Positions, "absolute"},
	} {
		if x.is != x.want {
			return fmt.Errorf("its %s is %q; models with %q can be used", x.what, x.is, x.want)
		}
	}
	s.heads, s.eps = c.Heads, c.Eps
	return nil
}

// tokenizer takes tokenizer_config.json. A model without a limit has a huge one there.
func (s *settings) tokenizer(b []byte) error {
	var c struct {
		Max float64 `json:"model_max_length"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return err
	}
	s.limit(c.Max)
	return nil
}

// sentence takes sentence_bert_config.json.
func (s *settings) sentence(b []byte) error {
	var c struct {
		Max *float64 `json:"max_seq_length"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return err
	}
	if c.Max != nil {
		s.limit(*c.Max)
	}
	return nil
}

func (s *settings) limit(tokens float64) {
	if tokens >= 2 {
		s.maxTokens = int(min(tokens, MaxTokens))
	}
}

// pool takes 1_Pooling/config.json.
func (s *settings) pool(b []byte) error {
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		return err
	}
	var on []string
	for _, mode := range []string{"cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"} {
		if c["pooling_mode_"+mode] == true {
			on = append(on, mode)
		}
	}
	switch {
	case len(on) == 0, slices.Equal(on, []string{"mean_tokens"}):
		s.pooling = meanPooling
	case slices.Equal(on, []string{"cls_token"}):
		s.pooling = firstPooling
	default:
		return fmt.Errorf("its pooling is %v; mean_tokens or cls_token can be used", on)
	}
	return nil
}

// modules takes modules.json, which says what a sentence model does after the encoder.
func (s *settings) modules(b []byte) error {
	var list []struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	for _, m := range list {
		switch kind := m.Type[strings.LastIndex(m.Type, ".")+1:]; kind {
		case "Transformer", "Pooling", "Normalize":
		default:
			return fmt.Errorf("it has a module %s; models of Transformer, Pooling and Normalize can be used", kind)
		}
	}
	return nil
}
