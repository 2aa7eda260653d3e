// SPDX-License-Identifier: MIT OR Apache-2.0

package config_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
)

// stripped is a configuration with secrets, some in entries.
type stripped struct {
	Model struct {
		Key  config.Secret `koanf:"api_key"`
		Name string        `koanf:"name"`
	} `koanf:"model"`
	Bot struct {
		Token config.Secret `koanf:"bot_token"`
	} `koanf:"bot"`
}

const planted = "sk-PLANTED-0123456789"

func TestStripped(t *testing.T) {
	for _, c := range []struct {
		name, in, out string
		keys          []string
	}{
		{"nothing", "# hello\n[model]\nname = \"x\" # y\n", "# hello\n[model]\nname = \"x\" # y\n", nil},
		{"a string", "[model]\napi_key = \"" + planted + "\" # mine\nname = \"x\"\n", "[model]\napi_key = \"\" # mine\nname = \"x\"\n", []string{"model.api_key"}},
		{"another string", "model.api_key='" + planted + "'", "model.api_key=\"\"", []string{"model.api_key"}},
		{"quoted keys", "[model]\n\"api_key\"\t= \"" + planted + "\"\n", "[model]\n\"api_key\"\t= \"\"\n", []string{"model.api_key"}},
		{"many lines", "[model]\napi_key = \"\"\"\n" + planted + "\nmore\"\"\"\nname = \"x\"\n", "[model]\napi_key = \"\"\nname = \"x\"\n", []string{"model.api_key"}},
		{"escaped", "[model]\napi_key = \"sk-\\u0050LANTED-0123456789\"\n# " + planted + "\n", "[model]\napi_key = \"\"\n# [redacted]\n", []string{"model.api_key"}},
		{"a table in a line", "model = { name = \"x\", api_key = \"" + planted + "\" }\n", "model = { name = \"x\", api_key = \"\" }\n", []string{"model.api_key"}},
		{"a list", "[bot]\nbot_token = [ \"" + planted + "\", [\n'b' ] ] # x\n[model]\n", "[bot]\nbot_token = \"\" # x\n[model]\n", []string{"bot.bot_token"}},
		{"tables in a list", "x = [ { api_key = '" + planted + "' }, 1 ]\n", "x = [ { api_key = \"\" }, 1 ]\n", []string{"x.api_key"}},
		{"a number", "[bot]\nbot_token = 1234\n", "[bot]\nbot_token = \"\"\n", []string{"bot.bot_token"}},
		{"elsewhere", "[[other]]\nbot_token = \"" + planted + "\"\n", "[[other]]\nbot_token = \"\"\n", []string{"other.bot_token"}},
		{"repeated", "[model]\napi_key = \"" + planted + "\"\nname = \"a " + planted + " b\" # " + planted + "\n",
			"[model]\napi_key = \"\"\nname = \"a [redacted] b\" # [redacted]\n", []string{"model.api_key"}},
		{"commented out", "[model]\n  # api_key = \"" + planted + "\"\n#api_key=''\n# see api_keys = none\n", "[model]\n  # api_key = \"\"\n#api_key=''\n# see api_keys = none\n", []string{"a comment"}},
		{"windows", "\ufeff[model]\r\napi_key = \"" + planted + "\"\r\nname = \"x\"\r\n", "[model]\r\napi_key = \"\"\r\nname = \"x\"\r\n", []string{"model.api_key"}},
	} {
		got, keys, err := config.Stripped(stripped{}, []byte(c.in))
		if err != nil || string(got) != c.out || !slices.Equal(keys, c.keys) {
			t.Errorf("%s: %q, %v, %v; want %q, %v", c.name, got, keys, err, c.out, c.keys)
		}
	}
	for _, bad := range []string{"[model]\napi_key = " + planted, "[model\n", "api_key = \"" + planted, "x = \"\xff\""} {
		if got, _, err := config.Stripped(stripped{}, []byte(bad)); err == nil || got != nil || strings.Contains(err.Error(), planted) {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
}

// Whatever the file, the secret's text is not in what comes back.
func FuzzStripped(f *testing.F) {
	f.Add("[model]\napi_key = \"" + planted + "\"\n")
	f.Add("model = { api_key = '" + planted + "' }\nx = [ [ { bot_token = '''" + planted + "''' } ] ]")
	f.Add("[a.\"b.c\"]\nd.api_key = [ 1, \"" + planted + "\" ]\n# api_key = \"" + planted + "\"")
	f.Fuzz(func(t *testing.T, in string) {
		whole := "[model]\napi_key = \"" + planted + "\"\n[fuzzed]\n" + in
		got, keys, err := config.Stripped(stripped{}, []byte(whole))
		if err != nil {
			return
		}
		if bytes.Contains(got, []byte(planted)) || !slices.Contains(keys, "model.api_key") {
			t.Errorf("%q became %q, %v", whole, got, keys)
		}
	})
}
