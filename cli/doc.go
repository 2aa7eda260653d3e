// SPDX-License-Identifier: MIT OR Apache-2.0

// Package cli is blufio's command line.
//
// [Main] is the whole program without its globals: arguments, streams and
// environment go in, an exit code comes out. Each command has a file of its own;
// ui.go and format.go own everything about how output looks, failure.go how errors
// are told and which exit code they end with, client.go how the running daemon is found.
//
// The manual pages and completions in contrib are made of the commands' help and of the
// last three sections here.
//
// # Rules for every command
//
// Standard output carries data and nothing else; errors, hints and progress go to
// standard error. An error is one line, `blufio: what happened`, and where there
// is something to do about it a second one, `hint: what to do`. Output is coloured
// and has symbols on a terminal only, never with --plain, NO_COLOR or TERM=dumb.
// What a model or a stranger wrote is stripped of control characters before a
// terminal sees it.
//
// With --json a command prints one document; what goes on and on (events, status --watch,
// the shell) prints one a line. An answer of the bus is printed as it came: its shape is
// that of bus/EVENTS.md, with the version in the subject. Reports of the command line's own
// name themselves in `schema`; plain lists and what is small (version, a new key) do not. All
// of them only grow: readers ignore fields that they do not know.
//
// # The daemon
//
// Except for `serve` and `config`, commands are clients of the bus. They read
// daemon.json in the data directory for the addresses and device.nk for the key,
// so they need no configuration and also find a daemon that listens on free ports.
// The live database is never opened here; doctor reads that of a stopped daemon. The
// commands for secrets work without a daemon too: then they hold its lock, and root
// becomes the owner of the data directory first.
//
// # Exit codes
//
//	  0  fine
//	  1  failed, or degraded (status, health), or a finding that is a failure (doctor)
//	  2  warnings only (doctor)
//	  3  not running
//	  4  the daemon is there but does not answer
//	  5  permission denied
//	 64  wrong usage
//	130  interrupted (Ctrl-C) before it was done
//
// and for serve and restore also 65 (database newer than the program) and 75 (another
// daemon holds the data directory), for serve 77 (device key or file permissions) and 78
// (configuration).
//
// # Files
//
// The data directory is the first that applies: --data-dir, $STATE_DIRECTORY,
// /var/lib/blufio if it exists, $XDG_DATA_HOME/blufio. It holds the database
// (blufio.db), the device key (device.nk), perhaps the key of the vault (vault.key) and,
// while a daemon runs, its addresses (daemon.json). It is the owner's alone: for the members
// of its group, a daemon that systemd runs leaves its addresses and a key (operator.creds)
// in $RUNTIME_DIRECTORY, /run/blufio for a data directory /var/lib/blufio. Configuration is read from /etc/blufio/blufio.toml and
// $XDG_CONFIG_HOME/blufio/blufio.toml; --config names a file that replaces both.
//
// # Environment
//
// BLUFIO_CONFIG and BLUFIO_DATA_DIR stand for --config and --data-dir. For a setting
// of the daemon, BLUFIO_SECTION__KEY comes before the files: BLUFIO_GATEWAY__LISTEN
// sets gateway.listen. BLUFIO_VAULT_KEY is a passphrase that the vault is locked with, and
// CREDENTIALS_DIRECTORY is where systemd puts the credential vault-key. NO_COLOR, when it is not empty, takes colours and symbols away.
package cli

//go:generate go run ./internal/mandoc
