// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	plainKey = "sk-test-0123456789abcdef"
	oddKey   = "pä\"ss\\wo<rd> &\n/%+key"
)

func redactor(t testing.TB, secrets ...string) *Redactor {
	t.Helper()
	r := &Redactor{}
	for _, s := range secrets {
		if err := r.Add(NewSecret(s)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// ways are the texts that a secret is in.
func ways(s string) map[string]string {
	quoted, err := json.Marshal(map[string]string{"error": s})
	if err != nil {
		panic(err)
	}
	return map[string]string{
		"plain":       s,
		"in a line":   "Incorrect API key provided: " + s + ".",
		"twice":       s + s,
		"query":       "https://example.com/?key=" + url.QueryEscape(s) + "&x=1",
		"path":        "https://example.com/bot" + url.PathEscape(s) + "/getMe",
		"userinfo":    (&url.URL{Scheme: "http", User: url.UserPassword("me", s), Host: "proxy:3128"}).String(),
		"json":        string(quoted),
		"go":          strconv.Quote(s),
		"go in error": fmt.Sprintf("parse %q: no", s),
		"base64":      base64.StdEncoding.EncodeToString([]byte(s)),
		"base64 url":  base64.RawURLEncoding.EncodeToString([]byte(s)),
		"basic auth":  "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+s)),
		"basic auth+": "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+s+"\nmore")),
		"bearer json": base64.URLEncoding.EncodeToString([]byte("x" + s + "y")),
	}
}

// shows reports whether text has the secret in it, in any way that can be turned back.
func shows(text, secret string) bool {
	for _, f := range forms(secret) {
		if strings.Contains(text, f) {
			return true
		}
	}
	return false
}

func TestRedact(t *testing.T) {
	for _, secret := range []string{plainKey, oddKey, "12345678"} {
		r := redactor(t, secret)
		for name, text := range ways(secret) {
			if !shows(text, secret) {
				t.Fatalf("%s does not show %q", name, secret)
			}
			got := r.Redact(text)
			if shows(got, secret) || !strings.Contains(got, redacted) {
				t.Errorf("%s of %q: %q", name, secret, got)
			}
		}
	}
}

func TestRedactLeavesTheRest(t *testing.T) {
	r := redactor(t, plainKey, plainKey+"-and-more", oddKey)
	for text, want := range map[string]string{
		"":                            "",
		"short":                       "short",
		"nothing to see here":         "nothing to see here",
		plainKey[:len(plainKey)-1]:    plainKey[:len(plainKey)-1], // a part is not found
		"a " + plainKey + " b":        "a [redacted] b",
		plainKey + "-and-more.":       "[redacted].", // the longest of those that begin there
		"x" + plainKey + oddKey + "y": "x[redacted][redacted]y",
	} {
		if got := r.Redact(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestRedactorBounds(t *testing.T) {
	r := &Redactor{}
	if err := r.Add(NewSecret("1234567")); !errors.Is(err, ErrShortSecret) || r.Len() != 0 {
		t.Errorf("short: %v, %d known", err, r.Len())
	}
	if err := errors.Join(r.Add(Secret{}), r.Add(NewSecret(plainKey)), r.Add(NewSecret(plainKey))); err != nil || r.Len() != 1 {
		t.Errorf("none, one and again: %v, %d known", err, r.Len())
	}
	name := func(i int) string { return fmt.Sprintf("secret number %d", i) }
	for i := range maxRedacted - 1 {
		if err := r.Add(NewSecret(name(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Add(NewSecret("one too many")); !errors.Is(err, ErrManySecrets) || r.Len() != maxRedacted {
		t.Errorf("beyond the bound: %v, %d known", err, r.Len())
	}
	if got := r.Redact(plainKey + name(0) + "one too many"); got != plainKey+redacted+redacted {
		t.Errorf("the oldest is forgotten for the new one: %q", got)
	}
	var none *Redactor
	if none.Redact(plainKey) != plainKey || string(none.RedactJSON([]byte(`"x"`))) != `"x"` {
		t.Error("a nil Redactor knows no secret")
	}
}

func TestRedactJSON(t *testing.T) {
	r := redactor(t, plainKey, oddKey, "12345678", `","b":"","`)
	value := map[string]any{
		"error": "key " + oddKey, "n": 12345678, "text": "12345678", plainKey: []any{"x", nil, true, plainKey}, "b": "",
		"inner": fmt.Sprintf(`{"key":%q}`, plainKey), "quote": `\"`, "auth": base64.StdEncoding.EncodeToString([]byte("a:" + oddKey)),
	}
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	got := r.RedactJSON(data)
	var back map[string]any
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if shows(string(got), oddKey) || shows(string(got), plainKey) || strings.Contains(string(got), `"12345678"`) {
		t.Errorf("%s", got)
	}
	if back["n"] != 12345678.0 || back["quote"] != `\"` || back["error"] != "key [redacted]" || back["b"] != "" {
		t.Errorf("%s", got)
	}
	same := []byte(`{"a":1,"b":["a longer text without anything", "\u0041\\"]}`)
	if got := r.RedactJSON(same); &got[0] != &same[0] {
		t.Error("copied without need")
	}
	if got := r.RedactJSON([]byte(`{"cut":"sk-test-0123456789abcd\u0065f`)); string(got) != `{"cut":"sk-test-0123456789abcd\u0065f` {
		t.Errorf("not JSON: %s", got)
	}
	if got := r.RedactJSON([]byte(`["sk-test-0123456789abcd\u0065f"]`)); string(got) != `["[redacted]"]` {
		t.Errorf("escaped where it need not be: %s", got)
	}
}

// A passphrase may be the name of a field, which stays; what is no such name goes.
func TestRedactJSONLeavesFields(t *testing.T) {
	r := redactor(t, "messages", plainKey)
	in := `{"messages" : {"messages":"messages", "a": ["messages"]}, "` + plainKey + `": 1}`
	want := `{"messages" : {"messages":"[redacted]", "a": ["[redacted]"]}, "[redacted]": 1}`
	if got := string(r.RedactJSON([]byte(in))); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := string(r.RedactJSON([]byte(`"messages"`))); got != `"[redacted]"` {
		t.Error(got)
	}
	if got := string(r.RedactJSON([]byte(`{"x":"messages`))); got != `{"x":"messages` {
		t.Error(got)
	}
}

type (
	stringer struct{ text string }
	loud     struct{ text string }
	coded    struct {
		Inner *struct{ Text string }
		Bytes []byte
	}
)

func (s stringer) String() string     { return "I am " + s.text }
func (l loud) LogValue() slog.Value   { return slog.GroupValue(slog.String("inner", l.text)) }
func (l *loud) Error() string         { panic(l.text) }
func nothing(string) []any            { return nil }
func attr(v func(string) any) argsFor { return func(s string) []any { return []any{"a", v(s)} } }

type argsFor func(secret string) []any

// Every place of a record that a secret may be in, in both formats.
func TestRedactHandler(t *testing.T) {
	places := map[string]struct {
		message func(string) string
		args    argsFor
		hidden  bool // shown as an address, as numbers or escaped twice, in one of the formats
	}{
		"message":     {func(s string) string { return "oh " + s }, nothing, false},
		"string":      {nil, attr(func(s string) any { return "x" + s }), false},
		"error":       {nil, attr(func(s string) any { return fmt.Errorf("outer: %w", errors.New(s)) }), false},
		"joined":      {nil, attr(func(s string) any { return errors.Join(errors.New("a"), errors.New(s)) }), false},
		"panics":      {nil, attr(func(s string) any { return &loud{s} }), false},
		"stringer":    {nil, attr(func(s string) any { return stringer{s} }), true},
		"logvaluer":   {nil, attr(func(s string) any { return loud{s} }), false},
		"bytes":       {nil, attr(func(s string) any { return []byte(s) }), false},
		"list":        {nil, attr(func(s string) any { return []string{"a", s} }), false},
		"map":         {nil, attr(func(s string) any { return map[string]any{"k": s} }), false},
		"struct":      {nil, attr(func(s string) any { return coded{Inner: &struct{ Text string }{s}} }), true},
		"blob":        {nil, attr(func(s string) any { return &coded{Bytes: []byte(s)} }), true},
		"raw json":    {nil, attr(func(s string) any { return json.RawMessage(jsonQuote(s, true)) }), true},
		"url":         {nil, attr(func(s string) any { return &url.URL{Scheme: "https", Host: "h", Path: "/bot" + s} }), false},
		"key":         {nil, func(s string) []any { return []any{s, 1} }, false},
		"group":       {nil, func(s string) []any { return []any{slog.Group("g", slog.Group("h", "a", 1, "b", s))} }, false},
		"group's key": {nil, func(s string) []any { return []any{slog.Group(s, "a", 1)} }, false},
	}
	formats := map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler {
			return slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true})
		},
		"json": func(b *bytes.Buffer) slog.Handler {
			return slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})
		},
	}
	for format, handler := range formats {
		for place, p := range places {
			for _, secret := range []string{plainKey, oddKey} {
				message := "hello"
				if p.message != nil {
					message = p.message(secret)
				}
				var clean bytes.Buffer
				log := redactor(t, secret).Logger(slog.New(handler(&clean)))
				log.Debug(message, p.args(secret)...)
				log.With(p.args(secret)...).WithGroup("in").Warn(message, p.args(secret)...)
				if shows(clean.String(), secret) || strings.Count(clean.String(), "[redacted]") < 2 {
					t.Errorf("%s, %s: %s", format, place, &clean)
				}
				var dirty bytes.Buffer
				slog.New(handler(&dirty)).Debug(message, p.args(secret)...)
				if !p.hidden && !shows(dirty.String(), secret) {
					t.Errorf("%s, %s: this shows nothing even without a redactor: %s", format, place, &dirty)
				}
			}
		}
	}
}

// What has no secret in it is logged to the byte as without a redactor.
func TestRedactHandlerLeavesTheRest(t *testing.T) {
	var with, without bytes.Buffer
	drop := &slog.HandlerOptions{ReplaceAttr: func(g []string, a slog.Attr) slog.Attr {
		if len(g) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	r := redactor(t, plainKey)
	for _, log := range []*slog.Logger{slog.New(slog.NewJSONHandler(&without, drop)), r.Logger(r.Logger(slog.New(slog.NewJSONHandler(&with, drop))))} {
		log.Debug("not enabled")
		log.With("service", "x").WithGroup("g").Info("hello", "n", 7, "err", errors.New("plain"), "v", coded{Bytes: []byte("abc")}, slog.Group("h", "f", 1.5), "l", loud{"all well"})
	}
	if with.String() != without.String() || with.Len() == 0 {
		t.Errorf("\n%s\n%s", &with, &without)
	}
}

func TestRedactorIsConcurrent(t *testing.T) {
	r := redactor(t, plainKey)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 50 {
				_ = r.Add(NewSecret(fmt.Sprintf("secret %d of %d", j, i)))
				if got := r.Redact("a " + plainKey); got != "a [redacted]" {
					t.Errorf("%q", got)
				}
			}
		})
	}
	wg.Wait()
}

func TestSecrets(t *testing.T) {
	type section struct {
		Key   Secret   `koanf:"key"`
		Plain string   `koanf:"plain"`
		List  []Secret `koanf:"list"`
	}
	cfg := struct {
		One  section            `koanf:"one"`
		Many map[string]section `koanf:"many"`
	}{One: section{Key: NewSecret("a"), Plain: "p", List: []Secret{NewSecret("b"), {}}}, Many: map[string]section{"x.y": {Key: NewSecret("c")}}}
	found, err := Secrets(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range found {
		got = append(got, s.Key+"="+s.Secret.Reveal())
	}
	if want := `one.key=a one.list=b many."x.y".key=c`; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// Whatever the secret and the text around it, the text comes back without it, and
// JSON stays JSON.
func FuzzRedact(f *testing.F) {
	f.Add(plainKey, "before ", " after")
	f.Add(oddKey, `{"`, `"}`)
	f.Add("aaaaaaaaaaaaaaaa", "aaa", "a")
	f.Add(`"}],[{"`, `","`, `\`)
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		r := &Redactor{}
		if r.Add(NewSecret(secret)) != nil || secret == "" {
			return
		}
		if strings.Contains(redacted, secret) {
			return
		}
		text := before + secret + after
		got := r.Redact(text)
		if !strings.Contains(got, redacted) {
			t.Fatalf("%q in %q: %q", secret, text, got)
		}
		data, err := json.Marshal(map[string]any{"a": text, "n": 1})
		if err != nil {
			t.Fatal(err)
		}
		if clean := r.RedactJSON(data); !json.Valid(clean) || !bytes.Contains(clean, []byte(redacted)) && strings.ToValidUTF8(secret, "") == secret {
			t.Fatalf("%q in %s: %s", secret, data, clean)
		}
		r.RedactJSON([]byte(text)) // no JSON at all
	})
}

func BenchmarkRedact(b *testing.B) {
	line := strings.Repeat("turn completed session=main channel=gateway ", 4)
	for _, n := range []int{1, 10, maxRedacted} {
		r := &Redactor{}
		for i := range n {
			if err := r.Add(NewSecret(fmt.Sprintf("sk-test-%d-0123456789abcdef", i))); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("text/%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				r.Redact(line)
			}
		})
		b.Run(fmt.Sprintf("log/%d", n), func(b *testing.B) {
			log := r.Logger(slog.New(slog.NewTextHandler(nowhere{}, nil)))
			b.ReportAllocs()
			for b.Loop() {
				log.Info("turn completed", "service", "agent", "trace", "Yq0cTN6VrPmaQyUGc1uWzE", "tokens", 512)
			}
		})
	}
	b.Run("log/without", func(b *testing.B) {
		log := slog.New(slog.NewTextHandler(nowhere{}, nil))
		b.ReportAllocs()
		for b.Loop() {
			log.Info("turn completed", "service", "agent", "trace", "Yq0cTN6VrPmaQyUGc1uWzE", "tokens", 512)
		}
	})
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// Without a hit nothing is allocated: the log is written all the time.
func TestRedactDoesNotAllocate(t *testing.T) {
	r := redactor(t, plainKey, oddKey)
	data := []byte(`{"text":"nothing to see here, and again nothing"}`)
	rec := slog.Record{Message: "turn completed"}
	rec.AddAttrs(slog.String("service", "agent"), slog.Int("n", 7))
	h := r.Handler(slog.DiscardHandler)
	n := testing.AllocsPerRun(100, func() {
		r.Redact("nothing to see here, and again nothing")
		r.RedactJSON(data)
		_ = h.Handle(t.Context(), rec)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
