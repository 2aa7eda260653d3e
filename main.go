// SPDX-License-Identifier: MIT OR Apache-2.0

// Command blufio is an always-on personal AI agent in one file: the daemon
// (`blufio serve`) and the commands that talk to it.
package main

import (
	"os"
	"runtime"

	"github.com/blufio/blufio/cli"
)

func main() {
	runtime.MemProfileRate = 0 // its table takes 1.5 MB; the governor turns it on, see memory.heap_profile
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
