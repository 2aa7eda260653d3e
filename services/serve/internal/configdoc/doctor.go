// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/serve"
)

const doctorHead = `<!-- Generated from the table of checks by go generate; do not edit. -->
# Doctor: every check

` + "`blufio doctor`" + ` makes the quick checks, in about two seconds; ` + "`--deep`" + ` makes all. ` + "`--only`" + ` and ` + "`--skip`" + ` take an id or the
beginning of some, ` + "`--timeout`" + ` how long each check may take. A check that does not end in time, or fails itself, is a finding too.
Checks that need the daemon are skipped when none answers; the others are then made by the command line.

A finding is **ok**, **info** (worth knowing, no trouble), **warn** (will be trouble, or passes), **fail**, or **skip** (there was nothing
to look at). Exit code: 0 without warnings, 2 with warnings only, 1 with a failure, 4 when the checks could not be made, 5 without
permission to look. That no daemon runs is a warning. Ids never change their meaning.

` + "`--json`" + ` prints one object ` + "`{schema:\"blufio.doctor/1\", result, mode, findings:[{id,title,level,seen,why,fix,ref,timeout_ms,duration_ms}]}`" + `, the findings
in the order of this table; ` + "`mode`" + ` is ` + "`live`" + ` or ` + "`offline`" + `. Readers ignore fields they do not know.

`

// doctor writes DOCTOR.md: the table, then a section for each check.
func doctor() string {
	var b strings.Builder
	b.WriteString(doctorHead + "| id | when | where | true when all is well |\n|---|---|---|---|\n")
	checks := serve.Checks()
	for _, c := range checks {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", c.ID, strings.ToLower(c.ID), when(c), where(c), c.Title)
	}
	for _, a := range services.Areas() {
		fmt.Fprintf(&b, "\n## %s\n", a.Title)
		for _, c := range checks {
			if strings.HasPrefix(c.ID, "BLF-"+a.Name+"-") {
				fmt.Fprintf(&b, "\n### %s\n\n**%s.** Made %s, %s, within %s.\n\nWhy: %s.\n\nWhat to do: %s.\n",
					c.ID, c.Title, when(c), where(c), time.Duration(c.TimeoutMS)*time.Millisecond, c.Why, strings.TrimSuffix(c.Fix, "."))
			}
		}
	}
	return b.String()
}

func when(c serve.Check) string {
	if c.Deep {
		return "with --deep"
	}
	return "always"
}

func where(c serve.Check) string {
	if c.Daemon {
		return "in the daemon"
	}
	return "with and without a daemon"
}
