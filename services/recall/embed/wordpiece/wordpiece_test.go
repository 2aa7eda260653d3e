// SPDX-License-Identifier: MIT OR Apache-2.0

package wordpiece

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func small(t testing.TB) *Tokenizer {
	t.Helper()
	w, err := ParseJSON(read(t, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// cased is the same vocabulary for a model that knows upper case and accents.
func cased(t testing.TB) *Tokenizer {
	t.Helper()
	var f map[string]any
	if err := json.Unmarshal(read(t, "tokenizer.json"), &f); err != nil {
		t.Fatal(err)
	}
	f["normalizer"] = map[string]any{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": false, "strip_accents": false, "lowercase": false}
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	w, err := ParseJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// The ids are those of another implementation, Hugging Face's for JavaScript (tokenizers.js), for the same tokenizer.json.
func TestGolden(t *testing.T) {
	var cases []struct {
		Text           string
		Uncased, Cased []int32
	}
	if err := json.Unmarshal(read(t, "golden.json"), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 30 {
		t.Fatalf("only %d cases", len(cases))
	}
	lower, exact := small(t), cased(t)
	for _, c := range cases {
		if got := lower.Encode(nil, c.Text, 512); !slices.Equal(got, c.Uncased) {
			t.Errorf("%q\n is   %v\n want %v", c.Text, got, c.Uncased)
		}
		if got := exact.Encode(nil, c.Text, 512); !slices.Equal(got, c.Cased) {
			t.Errorf("cased %q\n is   %v\n want %v", c.Text, got, c.Cased)
		}
	}
}

// The real vocabulary gives the ids that the documentation of all-MiniLM-L6-v2 has for its example.
func TestModelOfTheOwner(t *testing.T) {
	dir := os.Getenv("BLUFIO_TEST_MODEL_DIR")
	if dir == "" {
		t.Skip("BLUFIO_TEST_MODEL_DIR is not set")
	}
	w, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{
		"This is an example sentence": {101, 2023, 2003, 2019, 2742, 6251, 102},
		"Each sentence is converted":  {101, 2169, 6251, 2003, 4991, 102},
	} {
		if got := w.Encode(nil, text, 256); !slices.Equal(got, want) {
			t.Errorf("%q is %v, not %v", text, got, want)
		}
	}
}

// pieces spells ids out.
func (t *Tokenizer) pieces(ids []int32) string {
	var out []string
	for _, id := range ids {
		for i := range t.vocab.ends {
			if t.vocab.id(i) == id {
				out = append(out, string(t.vocab.piece(i)))
			}
		}
	}
	return strings.Join(out, " ")
}

func TestEncode(t *testing.T) {
	w := small(t)
	for text, want := range map[string]string{
		"[SEP] a [MASK]":         "[CLS] [ s ##e ##p ] a [ m ##a ##s ##k ] [SEP]", // text, and nothing else
		"the unaffable":          "[CLS] the unaff ##able [SEP]",
		"":                       "[CLS] [SEP]",
		"\x00\u200b\ufffd":       "[CLS] [SEP]",
		"\xff\xfea":              "[CLS] a [SEP]",
		"ΟΔΟΣ":                   "[CLS] [UNK] [SEP]",
		"Zürich":                 "[CLS] zurich [SEP]",
		strings.Repeat("w", 101): "[CLS] [UNK] [SEP]",
	} {
		if got := w.pieces(w.Encode(nil, text, 64)); got != want {
			t.Errorf("%q is %s, not %s", text, got, want)
		}
	}
}

// A long text is cut off at the limit, and its end is not even looked at.
func TestTruncation(t *testing.T) {
	w := small(t)
	for _, limit := range []int{2, 3, 10, 256} {
		for _, text := range []string{strings.Repeat("hello ", 1000), strings.Repeat("unaffable ", 1000), strings.Repeat("x", 1<<22), strings.Repeat("日", 1<<20)} {
			ids := w.Encode(nil, text, limit)
			if len(ids) > limit || ids[0] != w.cls || ids[len(ids)-1] != w.sep {
				t.Errorf("%.10s at %d: %d ids", text, limit, len(ids))
			}
		}
	}
	if got := w.Encode([]int32{7}, "hello", 1); !slices.Equal(got, []int32{7}) {
		t.Errorf("there is no room, and yet %v", got)
	}
	full := w.Encode([]int32{7}, "the unaffable", 4)
	if want := "the unaff"; w.pieces(full[2:4]) != want || full[0] != 7 {
		t.Errorf("%s, want %s", w.pieces(full), want)
	}
}

// vocab.txt and its settings make the same tokenizer.
func TestVocabFile(t *testing.T) {
	w := small(t)
	var b bytes.Buffer
	for i := range w.vocab.ends {
		fmt.Fprintf(&b, "%s\r\n", w.vocab.piece(i))
	}
	dir := t.TempDir()
	put := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("vocab.txt", b.String())
	same, err := Open(dir)
	if err != nil || !bytes.Equal(same.Fingerprint(), w.Fingerprint()) {
		t.Fatal(err)
	}
	put("tokenizer_config.json", `{"do_lower_case":false,"tokenize_chinese_chars":false}`)
	other, err := Open(dir)
	if err != nil || bytes.Equal(other.Fingerprint(), w.Fingerprint()) || !bytes.Equal(other.Fingerprint(), cased(t).Fingerprint()) {
		t.Fatal(err)
	}
	put("tokenizer.json", string(read(t, "tokenizer.json")))
	if again, err := Open(dir); err != nil || !bytes.Equal(again.Fingerprint(), w.Fingerprint()) {
		t.Fatal("tokenizer.json comes first", err)
	}
}

// What cannot be used is one error, which says what it is.
func TestRefused(t *testing.T) {
	vocab := `"vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2}`
	whole := func(normalizer, pre, model, vocab string) string {
		return fmt.Sprintf(`{"normalizer":{"type":%q},"pre_tokenizer":{"type":%q},"model":{"type":%q,%s}}`, normalizer, pre, model, vocab)
	}
	for content, want := range map[string]string{
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", vocab): "",
		"":   "not the JSON",
		"[]": "not the JSON",
		"{}": `its model is ""`,
		whole("BertNormalizer", "BertPreTokenizer", "BPE", vocab):                                                                        `its model is "BPE"`,
		whole("BertNormalizer", "ByteLevel", "WordPiece", vocab):                                                                         `its pre-tokenizer is "ByteLevel"`,
		whole("NFC", "BertPreTokenizer", "WordPiece", vocab):                                                                             "no BertNormalizer",
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", `"vocab":{}`):                                                           "no pieces",
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", `"vocab":null`):                                                         "no vocabulary",
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", `"vocab":[["a",1]]`):                                                    "no vocabulary",
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", `"vocab":{"a":-1}`):                                                     "no number",
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", `"vocab":{"a":1.5}`):                                                    "no number",
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", `"vocab":{"a":99999999999999999999}`):                                   "no number",
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", `"vocab":{"a":1048576}`):                                                "more than 1048576 pieces",
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", `"vocab":{"[UNK]":0,"[SEP]":1}`):                                        "no [CLS]",
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", `"unk_token":"?","vocab":{"[CLS]":0,"[SEP]":1}`):                        "no ?",
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", `"vocab":{"`+strings.Repeat("x", 2000)+`":0}`):                          "longer than",
		whole("BertNormalizer", "BertPreTokenizer", "WordPiece", `"continuing_subword_prefix":"@","max_input_chars_per_word":-3,`+vocab): "",
	} {
		_, err := ParseJSON([]byte(content))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.120s: %v, want %q", content, err, want)
		}
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "neither tokenizer.json nor vocab.txt") {
		t.Error(err)
	}
	if _, err := ParseVocab([]byte("[UNK]\n[CLS]\n[SEP]\n"), []byte("{")); err == nil || !strings.Contains(err.Error(), "tokenizer_config.json") {
		t.Error(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "tokenizer.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a directory is no file")
	}
}

func BenchmarkEncode(b *testing.B) {
	w := small(b)
	var ids []int32
	for b.Loop() {
		ids = w.Encode(ids[:0], "My sister moved to Oslo in 2019 and works as a nurse at the hospital there.", 256)
	}
}

// use encodes with a tokenizer that came out of fuzzing.
func use(t *testing.T, w *Tokenizer, err error) {
	if err != nil {
		if w != nil {
			t.Error("an error and a tokenizer")
		}
		return
	}
	for _, id := range w.Encode(nil, "Hello, wörld 日本 [SEP]", 16) {
		if id < 0 || int(id) >= w.Size() {
			t.Errorf("id %d of %d", id, w.Size())
		}
	}
	w.Fingerprint()
}

func FuzzJSON(f *testing.F) {
	f.Add(read(f, "tokenizer.json"))
	f.Add([]byte(`{"normalizer":{"type":"BertNormalizer"},"pre_tokenizer":{"type":"BertPreTokenizer"},"model":{"type":"WordPiece","vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2,"\u00e9\"\\":7}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := ParseJSON(b)
		use(t, w, err)
	})
}

func FuzzVocab(f *testing.F) {
	f.Add([]byte("[UNK]\n[CLS]\n[SEP]\nhello\n##o\n"), []byte(`{"do_lower_case":false}`))
	f.Fuzz(func(t *testing.T, b, settings []byte) {
		w, err := ParseVocab(b, settings)
		use(t, w, err)
	})
}

func FuzzEncode(f *testing.F) {
	f.Add("Hello, y'all!", 10)
	f.Add("é\u0301\u200b \xff日本 ศ", 300)
	w := small(f)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = max(min(limit, 512), 2)
		ids := w.Encode(nil, text, limit)
		if len(ids) > limit || len(ids) < 2 || len(ids) > 3*utf8.RuneCountInString(text)+2 {
			t.Errorf("%d ids of %d characters, at most %d", len(ids), utf8.RuneCountInString(text), limit)
		}
	})
}
