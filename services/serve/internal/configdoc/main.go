// SPDX-License-Identifier: MIT OR Apache-2.0

// Command configdoc writes contrib/blufio.toml and CONFIG.md from the
// configuration's struct, and DOCTOR.md from the table of checks. Run it with `go generate ./services/serve`.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
)

func main() {
	for name, text := range generate() {
		if err := os.WriteFile(filepath.Join("../..", name), []byte(text), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "configdoc:", err)
			os.Exit(1)
		}
	}
}

// generate returns the files' contents by their paths in the repository.
func generate() map[string]string {
	return map[string]string{
		"DOCTOR.md": doctor(),
		"contrib/blufio.toml": `# blufio.toml: every setting with its default. Generated; copy what you change.
# Read from /etc/blufio/blufio.toml and then $XDG_CONFIG_HOME/blufio/blufio.toml.
# Secrets (api_key, bot_token) are better kept in the vault: blufio config set-secret.

` + config.Example(serve.Defaults()),
		"CONFIG.md": `<!-- Generated from the configuration's struct by go generate; do not edit. -->
# Configuration

Merged in this order, later wins: the defaults, ` + "`/etc/blufio/blufio.toml`, `$XDG_CONFIG_HOME/blufio/blufio.toml`" + `
(` + "`--config FILE`" + ` replaces both), environment variables ` + "`BLUFIO_SECTION__KEY`" + `, flags. An unknown key is an error.
` + "`blufio config validate`" + ` checks, ` + "`blufio config get KEY --origin`" + ` shows what is in force and where it was set, ` + "`blufio config show`" + ` all of it. Sizes and times are plain: ` + "`\"8s\"`, `\"30d\"`" + `.
A secret is best kept in the vault by ` + "`blufio config set-secret KEY`" + `: what is there counts more than a file, which works and is warned
about, and less than the environment and flags.

` + "`blufio config reload`" + `, or SIGHUP, makes the running daemon read all of it again: keys that take effect *at once* then count, the others
wait for a restart and are named. What is not valid changes nothing. A token's rate is decided when it is issued, and a socket that is open keeps
its bounds; everything else counts for the next message, call or request.

` + config.Reference(serve.Defaults()),
	}
}
