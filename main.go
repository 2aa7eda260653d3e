// SPDX-License-Identifier: MIT OR Apache-2.0

// Command blufio is an always-on personal AI agent in one file: the daemon
// (`blufio serve`) and the commands that talk to it.
package main

import (
	"os"
	"runtime"

	"github.com/blufio/blufio/cli"
)

// profileRate is of how many allocated bytes one is noted for the heap profile that a
// bug report has. Go's own, half a MiB, fills its table in some days, 2 MB of it.
const profileRate = 4 << 20

func main() {
	runtime.MemProfileRate = profileRate // first of all
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
