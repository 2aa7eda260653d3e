// SPDX-License-Identifier: MIT OR Apache-2.0

// Command blufio is an always-on personal AI agent in one file: the daemon
// (`blufio serve`) and the commands that talk to it.
package main

import (
	"os"

	"github.com/blufio/blufio/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
