// SPDX-License-Identifier: MIT OR Apache-2.0

package wordpiece

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unicode/utf8"
)

// maxFile bounds the files. MiniLM's tokenizer.json has 0.7 MB.
const maxFile = 64 << 20

// Open reads the tokenizer of the model in dir: tokenizer.json, or else vocab.txt with what
// tokenizer_config.json says about it.
func Open(dir string) (*Tokenizer, error) {
	for _, from := range []struct {
		file  string
		parse func([]byte) (*Tokenizer, error)
	}{
		{"tokenizer.json", ParseJSON},
		{"vocab.txt", func(b []byte) (*Tokenizer, error) {
			settings, err := readFile(filepath.Join(dir, "tokenizer_config.json"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			return ParseVocab(b, settings)
		}},
	} {
		b, err := readFile(filepath.Join(dir, from.file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open tokenizer: %w", err)
		}
		t, err := from.parse(b)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", from.file, err)
		}
		return t, nil
	}
	return nil, fmt.Errorf("open tokenizer: %s has neither tokenizer.json nor vocab.txt", dir)
}

// readFile reads a whole file, within bounds.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is no file, or has more than %d MB", path, maxFile>>20)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, info.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}

// file is what is looked at in a tokenizer.json.
type file struct {
	Normalizer    *bertNormalizer        `json:"normalizer"`
	PreTokenizer  struct{ Type string }  `json:"pre_tokenizer"`
	PostProcessor *struct{ Type string } `json:"post_processor"`
	Model         struct {
		Type     string
		Unknown  string          `json:"unk_token"`
		Prefix   *string         `json:"continuing_subword_prefix"`
		MaxChars *int            `json:"max_input_chars_per_word"`
		Vocab    json.RawMessage `json:"vocab"`
	}
}

type bertNormalizer struct {
	Type    string
	Clean   *bool `json:"clean_text"`
	Chinese *bool `json:"handle_chinese_chars"`
	Strip   *bool `json:"strip_accents"`
	Lower   *bool `json:"lowercase"`
}

// ParseJSON reads a tokenizer.json.
func ParseJSON(b []byte) (*Tokenizer, error) {
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("this is not the JSON of a tokenizer: %w", err)
	}
	for _, part := range []struct{ what, is, want string }{
		{"model", f.Model.Type, "WordPiece"},
		{"pre-tokenizer", f.PreTokenizer.Type, "BertPreTokenizer"},
	} {
		if part.is != part.want && !(part.what == "model" && part.is == "" && f.Model.Prefix != nil) {
			return nil, fmt.Errorf("its %s is %q; models of the BERT family have a %s", part.what, part.is, part.want)
		}
	}
	t := &Tokenizer{vocab: &vocab{}, prefix: "##", maxWord: maxWord}
	if n := f.Normalizer; n == nil || n.Type != "BertNormalizer" {
		return nil, errors.New("its normalizer is no BertNormalizer")
	} else {
		t.norm = n.settings()
	}
	if f.Model.Prefix != nil {
		t.prefix = *f.Model.Prefix
	}
	if f.Model.MaxChars != nil {
		t.maxWord = min(max(*f.Model.MaxChars, 1), 4*maxWord)
	}
	if err := t.vocab.addJSON(f.Model.Vocab); err != nil {
		return nil, err
	}
	return t.finish(f.Model.Unknown)
}

// settings fills in what is left out.
func (n *bertNormalizer) settings() normalizer {
	or := func(b *bool, otherwise bool) bool {
		if b != nil {
			return *b
		}
		return otherwise
	}
	lower := or(n.Lower, true)
	return normalizer{clean: or(n.Clean, true), chinese: or(n.Chinese, true), lower: lower, strip: or(n.Strip, lower)}
}

// addJSON takes the vocabulary from an object of pieces and ids, which is known to be valid JSON. Thirty thousand
// strings would be much garbage for the standard decoder.
func (v *vocab) addJSON(b []byte) error {
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 || b[0] != '{' {
		return errors.New("it has no vocabulary")
	}
	v.text = make([]byte, 0, len(b)/2)
	for b = b[1:]; ; {
		b = bytes.TrimLeft(b, " \t\r\n,")
		if len(b) == 0 || b[0] == '}' {
			break
		}
		piece, rest, err := jsonString(b)
		if err != nil {
			return err
		}
		id, rest, ok := jsonID(bytes.TrimLeft(rest, " \t\r\n:"))
		if !ok {
			return fmt.Errorf("the piece %q of its vocabulary has no number", piece)
		}
		if err := v.add(piece, id); err != nil {
			return err
		}
		b = rest
	}
	v.text = bytes.Clone(v.text)
	return v.index()
}

// jsonString takes a string from the beginning of b.
func jsonString(b []byte) (s, rest []byte, err error) {
	plain := true
	for n := 1; n < len(b); n++ {
		switch b[n] {
		case '\\':
			plain = false
			n++
		case '"':
			if plain && utf8.Valid(b[1:n]) {
				return b[1:n], b[n+1:], nil
			}
			var text string
			err = json.Unmarshal(b[:n+1], &text)
			return []byte(text), b[n+1:], err
		}
	}
	return nil, nil, errors.New("its vocabulary is no object of pieces and numbers")
}

// jsonID takes a whole number from the beginning of b.
func jsonID(b []byte) (id int, rest []byte, ok bool) {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' && id < maxPieces {
		id = 10*id + int(b[n]-'0')
		n++
	}
	return id, b[n:], n > 0 && n < len(b) && bytes.IndexByte([]byte(" \t\r\n,}"), b[n]) >= 0
}

// ParseVocab reads a vocab.txt: a piece a line, whose number is its id. settings is the content of
// tokenizer_config.json, or nil.
func ParseVocab(b, settings []byte) (*Tokenizer, error) {
	var c struct {
		Lower   *bool  `json:"do_lower_case"`
		Strip   *bool  `json:"strip_accents"`
		Chinese *bool  `json:"tokenize_chinese_chars"`
		Unknown string `json:"unk_token"`
	}
	if settings != nil {
		if err := json.Unmarshal(settings, &c); err != nil {
			return nil, fmt.Errorf("read tokenizer_config.json: %w", err)
		}
	}
	t := &Tokenizer{vocab: &vocab{}, prefix: "##", maxWord: maxWord}
	t.norm = (&bertNormalizer{Lower: c.Lower, Strip: c.Strip, Chinese: c.Chinese}).settings()
	t.vocab.text = make([]byte, 0, len(b))
	for id := 0; len(b) > 0; id++ {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		b = rest
		if err := t.vocab.add(bytes.TrimSuffix(line, []byte("\r")), id); err != nil {
			return nil, err
		}
	}
	if err := t.vocab.index(); err != nil {
		return nil, err
	}
	return t.finish(c.Unknown)
}

// finish finds the special tokens.
func (t *Tokenizer) finish(unknown string) (*Tokenizer, error) {
	if unknown == "" {
		unknown = "[UNK]"
	}
	for _, s := range []struct {
		name string
		id   *int32
	}{{unknown, &t.unk}, {"[CLS]", &t.cls}, {"[SEP]", &t.sep}} {
		id, ok := t.vocab.find("", []byte(s.name))
		if !ok {
			return nil, fmt.Errorf("its vocabulary has no %s", s.name)
		}
		*s.id = id
	}
	return t, nil
}
