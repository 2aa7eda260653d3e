// SPDX-License-Identifier: MIT OR Apache-2.0

// Package config fills one configuration struct from defaults, TOML files, the
// environment and flags, and refuses everything it does not understand.
//
// The package knows no section by name. The caller passes a pointer to a struct
// that holds the defaults, and the struct is the schema:
//
//	type Config struct {
//		Gateway Gateway `koanf:"gateway" doc:"The HTTP door."`
//	}
//	type Gateway struct {
//		Listen string        `koanf:"listen" doc:"Address to listen on."`
//		Port   int           `koanf:"port" doc:"TCP port." min:"1" max:"65535"`
//		Mode   string        `koanf:"mode" doc:"Output." oneof:"auto,text,json"`
//		Wait   time.Duration `koanf:"wait" doc:"Patience." min:"1s"`
//		Token  config.Secret `koanf:"token" doc:"Bearer token."`
//	}
//
// # Sources
//
// Later sources win, key by key: the struct as passed, then each file of
// [Sources.Files] in order, then the environment (BLUFIO_GATEWAY__LISTEN sets
// gateway.listen; a variable without a double underscore is not ours), then
// [Sources.Flags]. Lists are replaced whole, maps are merged entry by entry. In
// the environment and in flags a list is written with commas.
//
// # Types
//
// Text, booleans, integers, floats, [time.Duration] ("8s", and "30d" or "2w", see
// [ParseDuration]), lists of these, [StringList], [Secret], and any type with
// UnmarshalText, which should have MarshalText (or Reveal, which makes it a
// secret) too. A struct is a section, and a map from string to struct or value is
// a section whose entry names are free: [cost.prices."claude-x.1"]. A field without
// a koanf tag is not configuration and is left alone.
//
// # Strictness
//
// Load reports every problem of every source at once, as [Problems], each with its
// file, line and column, variable or flag, and where possible with a hint. The tags
// min and max bound a number or a duration by value, text by its length in bytes
// and a list by its length; oneof names the only values allowed. Bounds do not
// apply to a default of zero, which stands for "not set". What tags cannot say, the
// types say themselves:
//
//	func (l Level) Validate() error                               // a value or a section
//	func (g Gateway) Check(report func(key, message, hint string)) // a section, by relative key
//
// # Keys
//
// A key is written with dots, its parts quoted where TOML would quote them:
// cost.prices."claude-x.1".input. [Loaded] answers for each key what holds and where it
// came from; [Example] and [Reference] write the documentation from the same tags.
//
// Merging and decoding is koanf's work. This package adds what koanf has no notion
// of: positions, strictness before decoding, and entry names with dots in them.
package config
