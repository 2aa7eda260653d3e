// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

// mended is what came of one repair, for scripts.
type mended struct {
	ID    string `json:"id"`
	What  string `json:"what"`
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

// mend shows what is safe to mend, asks, and does it.
func (a *app) mend(cmd *cobra.Command, c checkup) error {
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	dir, err := a.data()
	if err != nil {
		return err
	}
	locked, err := serve.Running(dir)
	if err != nil {
		return err
	}
	exam := serve.Exam{DataDir: dir, Sources: a.sources(nil), Locked: locked, Now: a.now}
	found, err := serve.Repairs(exam)
	if other := (*serve.NotOwnerError)(nil); errors.As(err, &other) {
		return fail(exitDenied, fmt.Sprintf("run it as that user: sudo -u '#%d' blufio doctor --fix", other.UID), "%w", err)
	}
	if err != nil {
		return err
	}
	var plan []serve.Repair
	for _, r := range found {
		if c.wants(r.ID) {
			plan = append(plan, r)
		}
	}
	if len(plan) > 0 {
		a.note("%s", planText(a.ui(a.err), plan))
		if err := a.confirm(cmd, "Do that?", c.yes); err != nil {
			return err
		}
	}
	done := []mended{}
	err = serve.Mend(ctx, exam, plan, a.warnFirst, func(r serve.Repair, err error) {
		m := mended{ID: r.ID, What: r.What, Done: err == nil}
		if err != nil {
			m.Error = err.Error()
		}
		done = append(done, m)
	})
	return errors.Join(a.showMended(done), err, exitIf(anyLeft(done)))
}

func planText(u ui, plan []serve.Repair) string {
	var rows [][]string
	for _, r := range plan {
		rows = append(rows, []string{"  " + u.dim(r.ID), line(r.What)})
	}
	return strings.TrimRight("This will\n"+table(rows), "\n")
}

func anyLeft(done []mended) bool {
	for _, m := range done {
		if !m.Done {
			return true
		}
	}
	return false
}

func (a *app) showMended(done []mended) error {
	if a.json {
		return a.printJSON(struct {
			Schema  string   `json:"schema"`
			Repairs []mended `json:"repairs"`
		}{"blufio.doctor.fix/1", done})
	}
	u := a.ui(a.out)
	if len(done) == 0 {
		return a.print(u.ok() + " there is nothing to mend by itself; `blufio doctor` tells what else is wrong\n")
	}
	var text strings.Builder
	for _, m := range done {
		mark, why := u.ok(), ""
		if !m.Done {
			mark, why = u.bad(), ": "+line(m.Error)
		}
		text.WriteString(mark + " " + line(m.What) + why + "\n")
	}
	return a.print(text.String())
}
