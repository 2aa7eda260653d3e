// SPDX-License-Identifier: MIT OR Apache-2.0

package tool

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/services/internal/outbound"
)

// Config is the section [tools].
type Config struct {
	Enable       []string      `koanf:"enable" doc:"Tools that the model may use: time, remember, recall, forget, search_history, http_get, list_dir, read_file, write_file. shell has a key of its own."`
	Allow        []string      `koanf:"allow" live:"true" doc:"Hosts, addresses and networks that http_get may reach although they are not on the public internet, and without TLS: \"nas.local\", \"192.168.1.0/24\"."`
	HTTPTimeout  time.Duration `koanf:"http_timeout" min:"1s" max:"30s" doc:"Longest time for one http_get."`
	HTTPKB       int           `koanf:"http_kb" min:"1" max:"4096" doc:"How much of an answer http_get reads, in KiB."`
	MaxFetches   int           `koanf:"max_fetches" min:"1" max:"100" doc:"Most http_get calls at one time; more wait."`
	MaxNotes     int           `koanf:"max_notes" min:"1" max:"1000000" doc:"Counts no more: recall.max_entries bounds what is remembered, and gives up what is worth least."`
	MaxAllNotes  int           `koanf:"max_all_notes" min:"1" max:"1000000" doc:"Counts no more, as max_notes."`
	Workspace    string        `koanf:"workspace" doc:"The only directory that the file tools and shell work in; empty is workspace in the data directory. Everyone who may talk to the agent shares it."`
	WorkspaceMB  int           `koanf:"workspace_mb" min:"1" max:"100000" doc:"Most bytes in the workspace, in MiB; write_file refuses more."`
	MaxFiles     int           `koanf:"max_files" min:"1" max:"100000" doc:"Most files and directories in the workspace; write_file refuses more."`
	FileKB       int           `koanf:"file_kb" min:"1" max:"65536" doc:"Largest file that write_file writes and read_file reads, in KiB."`
	Shell        []string      `koanf:"shell" doc:"Commands that the model may run, with any arguments, as the daemon's user: [\"date\", \"uptime\"]. Empty: none, and no tool shell. What reads files or runs others (cat, find, git, python) opens everything that the daemon may do."`
	MaxCommands  int           `koanf:"max_commands" min:"1" max:"100" doc:"Most commands of the tool shell at one time; more wait."`
	ShellTimeout time.Duration `koanf:"shell_timeout" min:"1s" max:"30s" doc:"Longest time for one command; then it is killed, with all that it started and that has not left its process group."`
}

// Names of the tools.
const (
	nameRemember  = "remember"
	nameRecall    = "recall"
	nameForget    = "forget"
	nameHistory   = "search_history"
	nameHTTPGet   = "http_get"
	nameListDir   = "list_dir"
	nameReadFile  = "read_file"
	nameWriteFile = "write_file"
	nameShell     = "shell"
)

// optional are the tools that Config.Enable may name, in the order in which the
// model gets to see them.
var optional = []string{"time", nameRemember, nameRecall, nameForget, nameHistory, nameHTTPGet, nameListDir, nameReadFile, nameWriteFile}

// ofRecall are the tools that need the recall room.
var ofRecall = []string{nameRemember, nameRecall, nameForget}

// Names are those of all tools that there can be.
func Names() []string { return append(slices.Clone(optional), nameShell) }

// Defaults are the settings of a fresh install.
func Defaults() Config {
	return Config{Enable: slices.Clone(optional), HTTPTimeout: 20 * time.Second, HTTPKB: 512, MaxFetches: 8, MaxNotes: 10_000, MaxAllNotes: 50_000,
		WorkspaceMB: 64, MaxFiles: 1000, FileKB: 256, MaxCommands: 4, ShellTimeout: 10 * time.Second}
}

// fetchCopies is how often what http_get reads is there at once: as it came, and as
// the text that is made of it.
const fetchCopies = 2

// Bytes is the most memory, in bytes, that what is fetched can take at once.
func (c Config) Bytes() int64 { return int64(c.MaxFetches) * fetchCopies * int64(c.HTTPKB) << 10 }

// Check reports what no bound of a single key can say.
func (c Config) Check(report func(key, message, hint string)) {
	for _, name := range c.Enable {
		if name == nameShell {
			report("enable", "shell is not enabled here", "list the commands it may run in tools.shell")
		} else if !slices.Contains(optional, name) {
			report("enable", fmt.Sprintf("there is no tool %q", name), "there are "+strings.Join(optional, ", "))
		}
	}
	if _, err := outbound.ParseAllowed(c.Allow); err != nil {
		report("allow", err.Error(), `write it like "nas.local", "192.168.1.7" or "192.168.1.0/24"`)
	}
	if c.Workspace != "" && !filepath.IsAbs(c.Workspace) {
		report("workspace", fmt.Sprintf("%q does not begin with /", c.Workspace), "name the directory by its whole path")
	}
	for _, name := range c.Shell {
		if !commandName(name) {
			report("shell", fmt.Sprintf("%q is not a command", name), `name programs without arguments, as "uptime" or "/usr/bin/uptime"`)
		}
	}
}

// commandName reports whether name can be a program: a word, or a whole path.
func commandName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) &&
		(!strings.Contains(name, "/") || filepath.IsAbs(name))
}
