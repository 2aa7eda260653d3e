// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"slices"
	"testing"
)

func TestMessage(t *testing.T) {
	for _, c := range []struct {
		typed, text string
		whole       bool
	}{
		{"", "", true},
		{"hello", "hello", true},
		{`go on \`, "go on \n", false},
		{"one\ntwo \\", "one\ntwo \n", false},
		{`C:\\`, `C:\\`, true},
		{`three \\\`, "three \\\\\n", false},
		{"```", "```\n", false},
		{" <<< ", " <<< \n", false},
		{"```\na", "```\na\n", false},
		{"```\na\n\nb\n```", "a\n\nb", true},
		{"<<<\n```\nb\\\n<<<", "```\nb\\", true},
		{"<<<\n```", "<<<\n```\n", false},
		{"```\n```", "", true},
		{"```go\nx", "```go\nx", true},
		{"see:\n```\nx", "see:\n```\nx", true},
		{"```\npasted\n```\nwhat is this?", "```\npasted\n```\nwhat is this?", true},
	} {
		if text, whole := message(c.typed); text != c.text || whole != c.whole {
			t.Errorf("message(%q) = %q, %v, want %q, %v", c.typed, text, whole, c.text, c.whole)
		}
	}
}

func TestSlash(t *testing.T) {
	for text, want := range map[string][2]string{
		"hello /x":          {},
		"/":                 {},
		"/quit":             {"quit", ""},
		" /session  a b ":   {"session", "a b"},
		"/session a\nand b": {},
	} {
		if name, argument := slash(text); name != want[0] || argument != want[1] {
			t.Errorf("slash(%q) = %q, %q", text, name, argument)
		}
	}
}

func TestComplete(t *testing.T) {
	for typed, want := range map[string][]string{
		"":              nil,
		"hello":         nil,
		"/s":            {"/status", "/stop", "/session", "/sessions"},
		"/t":            {"/think"},
		"/sessions":     {"/sessions"},
		"/session w":    {"/session work", "/session wörk"},
		"/session work": {"/session work"},
		"/nothing":      nil,
	} {
		if got := complete(typed, []string{"main", "work", "wörk"}); !slices.Equal(got, want) {
			t.Errorf("complete(%q) = %q, want %q", typed, got, want)
		}
	}
	for want, words := range map[string][]string{"": nil, "/s": {"/status", "/session"}, "w": {"wo", "w\u00f6", "w\u00e9"}} {
		if got := common(words); got != want {
			t.Errorf("common(%q) = %q", words, got)
		}
	}
}

// FuzzMessage: typing comes to an end, whatever was typed, and nothing of it is lost.
func FuzzMessage(f *testing.F) {
	f.Add("```\na\n```")
	f.Add("a\\\\\\")
	f.Fuzz(func(t *testing.T, typed string) {
		text, whole := message(typed)
		if !whole && (len(text) < len(typed) || text[len(text)-1] != '\n') {
			t.Errorf("message(%q) = %q", typed, text)
		}
		if _, whole := message("<<<\n" + typed + "\n<<<"); !whole {
			t.Errorf("a block with %q does not end", typed)
		}
	})
}
