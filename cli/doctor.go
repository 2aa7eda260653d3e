// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

// reachID is the check that the command line makes by asking the daemon.
const reachID = "BLF-RUN-001"

// checkup is what `blufio doctor` was asked for.
type checkup struct {
	list, deep, fix, yes bool
	only, skip           []string
	timeout              time.Duration
}

func (a *app) doctorCommand() *cobra.Command {
	var c checkup
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what is wrong and say what to do about it",
		Long: "Find what is wrong and say what to do about it. The checks are quick, about two\n" +
			"seconds in all; --deep takes longer and looks closer. A daemon that runs checks\n" +
			"itself from within; without one, what can be checked from outside is. With --node\n" +
			"another daemon on the hub checks itself.\n\n" +
			"Exit code 0: all is well; 2: there are warnings, and one is that no daemon runs;\n" +
			"1: something failed; 4: the check itself could not be made; 5: permission denied.\n" +
			"DOCTOR.md explains every check.",
		Example:     "  blufio doctor\n  blufio doctor --deep\n  blufio --node garage doctor\n  blufio doctor --only BLF-LLM --timeout 10s\n  blufio doctor --json | jq '.findings[] | select(.level == \"fail\")'",
		Args:        noArgs,
		Annotations: map[string]string{throughHub: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.complete(cmd); err != nil {
				return err
			}
			switch {
			case c.list:
				return a.listChecks()
			case a.node != "" && c.fix:
				return misuse(cmd, "--fix mends what is on this machine: it does not go with --node")
			case a.node != "":
				return a.doctorOf(cmd.Context(), c)
			case c.fix:
				return a.mend(cmd, c)
			}
			return a.doctor(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.list, "list", false, "list the checks and make none")
	f.BoolVar(&c.deep, "deep", false, "look closer: every page of the database, the disk's speed, limits, the clock")
	f.StringSliceVar(&c.only, "only", nil, "make only these checks: an `ID`, or the beginning of some, as BLF-DB")
	f.StringSliceVar(&c.skip, "skip", nil, "leave these checks out: an `ID`, or the beginning of some")
	f.DurationVar(&c.timeout, "timeout", 0, "how long each check may take: a `DURATION` such as 10s, at most a minute")
	f.BoolVar(&c.fix, "fix", false, "mend what is safe to mend: modes, missing directories, leftovers, the database's log")
	f.BoolVar(&c.yes, "yes", false, "with --fix: do not ask")
	for _, name := range []string{"only", "skip"} {
		_ = cmd.RegisterFlagCompletionFunc(name, completeChecks) // the flag is there
	}
	return cmd
}

func completeChecks(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	for _, c := range serve.Checks() {
		ids = append(ids, c.ID+"\t"+c.Title)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// complete finds the ids that were meant, and what cannot be meant.
func (c *checkup) complete(cmd *cobra.Command) (err error) {
	if c.timeout != 0 && (c.timeout < time.Millisecond || c.timeout > time.Minute) {
		return misuse(cmd, "--timeout %s is not between a millisecond and a minute", c.timeout)
	}
	if c.only, err = idsOf(cmd, "only", c.only); err == nil {
		c.skip, err = idsOf(cmd, "skip", c.skip)
	}
	if err == nil && !c.list && !slices.ContainsFunc(serve.Checks(), c.makes) {
		return misuse(cmd, "no check is left: --skip names all that would be made")
	}
	return err
}

// idsOf makes full ids of ids and their beginnings.
func idsOf(cmd *cobra.Command, flag string, given []string) (ids []string, err error) {
	for _, g := range given {
		name := strings.ToUpper(strings.TrimSpace(g))
		if !strings.HasPrefix(name, "BLF") {
			name = "BLF-" + name
		}
		found := false
		for _, c := range serve.Checks() {
			if c.ID == name || strings.HasPrefix(c.ID, strings.TrimSuffix(name, "-")+"-") {
				ids, found = append(ids, c.ID), true
			}
		}
		if !found {
			f := misuse(cmd, "--%s: there is no check %q", flag, g)
			f.hint = "`blufio doctor --list` lists them"
			return nil, f
		}
	}
	return ids, nil
}

// makes reports whether a check of the table would be made.
func (c checkup) makes(check serve.Check) bool {
	return c.wants(check.ID) && (c.deep || !check.Deep || len(c.only) > 0)
}

// wants reports whether the check that asking the daemon is, is wanted.
func (c checkup) wants(id string) bool {
	return (len(c.only) == 0 || slices.Contains(c.only, id)) && !slices.Contains(c.skip, id)
}

// doctor makes the checks and shows what came of them.
func (a *app) doctor(ctx context.Context, c checkup) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	dir, err := a.data()
	if err != nil {
		return err
	}
	r := a.reach(ctx, dir, c)
	if r.conn != nil {
		defer hangUp(ctx, r.conn)
	}
	round := a.newRound(c, bus.DoctorReport{Mode: r.mode()})
	for more := true; more && ctx.Err() == nil; c, more = round.referred(c) {
		var checks sync.WaitGroup
		checks.Go(func() { serve.Examine(ctx, a.exam(dir, c, r), round.found) })
		checks.Go(func() { a.askDoctor(ctx, c, &r, round.found) })
		checks.Wait()
	}
	if ctx.Err() != nil {
		round.ward.clear()
		return errInterrupted()
	}
	shown := round.finish()
	return errors.Join(shown, exit(r.exitCode(round.report.Result)))
}

func errInterrupted() error { return fail(exitInterrupted, "", "stopped before all checks were made") }

// doctorOf has another daemon on the hub examine itself.
func (a *app) doctorOf(ctx context.Context, c checkup) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	round := a.newRound(c, bus.DoctorReport{Mode: bus.DoctorLive, Node: a.node})
	asked := asker{
		run: func(ctx context.Context, r bus.DoctorRequest) (bus.Job, error) {
			return askNode(ctx, a, bus.DoctorRun, r)
		},
		news: func(ctx context.Context, q bus.JobQuery) (bus.JobState, error) { return askNode(ctx, a, bus.JobGet, q) },
	}
	var err error
	for more := true; more && err == nil; c, more = round.referred(c) {
		err = follow(ctx, c, asked, round.found)
	}
	switch {
	case ctx.Err() != nil:
		round.ward.clear()
		return errInterrupted()
	case err != nil:
		round.ward.clear()
		return err
	}
	shown := round.finish()
	return errors.Join(shown, exit(reached{}.exitCode(round.report.Result)))
}

// round is an examination under way.
type round struct {
	mu     sync.Mutex
	report bus.DoctorReport
	asked  map[string]bool // checks, by id
	ward   *ward
}

func (a *app) newRound(c checkup, r bus.DoctorReport) *round {
	r.Schema, r.Findings = bus.DoctorSchema, []bus.Finding{}
	return &round{report: r, asked: map[string]bool{}, ward: a.newWard(c, r)}
}

func (r *round) found(f bus.Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Findings = append(r.report.Findings, f)
	r.ward.show(f)
}

// reference is how a check that was not made names the one that says why.
var reference = regexp.MustCompile(`\bsee (BLF-[A-Z]+-\d+)`)

// referred is the round after this one, for the checks that were referred to and not asked
// for: somebody who names one check must not read that all is well because another one
// knows what is wrong.
func (r *round) referred(c checkup) (next checkup, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.report.Findings {
		r.asked[f.ID] = true
	}
	next = c
	next.only = nil
	for _, f := range r.report.Findings {
		if m := reference.FindStringSubmatch(f.Seen); f.Level == bus.LevelSkip && m != nil && !r.asked[m[1]] && !slices.Contains(c.skip, m[1]) {
			r.asked[m[1]] = true // once, for it may not be answered
			next.only = append(next.only, m[1])
		}
	}
	return next, len(next.only) > 0 && len(c.only) > 0
}

// finish judges and shows how it all ended.
func (r *round) finish() error {
	serve.Sort(r.report.Findings)
	r.report.Result = verdictOf(r.report.Findings)
	return r.ward.finish(r.report)
}

// ownersOnly are checks that only the owner of the data directory, and root, can make.
var ownersOnly = []string{"BLF-FILE-001", "BLF-FILE-002", "BLF-FILE-004", "BLF-FILE-005"}

func (a *app) exam(dir string, c checkup, r reached) serve.Exam {
	if r.member {
		c.skip = append(slices.Clip(c.skip), ownersOnly...)
	}
	return serve.Exam{DataDir: dir, Sources: a.sources(nil), Daemon: r.info, Live: r.conn != nil, Locked: r.locked, Vaulted: a.vaulted,
		Deep: c.deep, Only: c.only, Skip: c.skip, Timeout: c.timeout, Now: a.now}
}

// verdictOf is the worst of the findings.
func verdictOf(found []bus.Finding) string {
	worst := bus.LevelOK
	for _, f := range found {
		switch {
		case f.Level == bus.LevelFail:
			return bus.LevelFail
		case f.Level == bus.LevelWarn:
			worst = bus.LevelWarn
		}
	}
	return worst
}

// listChecks prints the table.
func (a *app) listChecks() error {
	checks := serve.Checks()
	if a.json {
		return a.printJSON(checks)
	}
	u := a.ui(a.out)
	var rows [][]string
	for _, c := range checks {
		kind, where := "quick", "anywhere"
		if c.Deep {
			kind = "deep"
		}
		if c.Daemon {
			where = "daemon"
		}
		rows = append(rows, []string{u.bold(c.ID), kind, where, c.Title})
	}
	return a.print(table(rows))
}
