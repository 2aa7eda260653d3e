// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/spf13/cobra"
)

func (a *app) costCommand() *cobra.Command {
	cmd := group("cost", "Show what was spent; stop and resume spending",
		"  blufio cost\n  blufio cost stop --reason \"on holiday\"\n  blufio cost resume",
		a.costStopCommand(), a.costResumeCommand())
	cmd.Long = "Show what was spent today and this month, against the budgets and by model, and what\n" +
		"is reserved for calls under way. Budgets are cost.daily_usd and cost.monthly_usd in\n" +
		"blufio.toml."
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		sum, err := ask(cmd.Context(), a, bus.CostGet, bus.CostQuery{})
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(sum)
		}
		return a.print(costTable(a.ui(a.out), sum))
	}
	return cmd
}

func (a *app) costStopCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Refuse every model call that costs money, at once and until `cost resume`",
		Long: "Refuse every model call that costs money, at once and until `blufio cost resume`, also\n" +
			"across restarts. Models that cost nothing go on answering. Calls under way are\n" +
			"finished and booked. Messages are still taken in and told why they are not answered.",
		Example: "  blufio cost stop\n  blufio cost stop --reason \"checking a strange bill\"",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.switchSpending(cmd.Context(), bus.SpendingSwitch{Stopped: true, Reason: reason})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "a `TEXT` that is shown to whoever asks why")
	return cmd
}

func (a *app) costResumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume",
		Short: "Let the agent spend again, within its budgets",
		Long: "Let the agent spend again, within its budgets: what `blufio cost stop` refused is\n" +
			"possible again. Messages that were told so are not answered anew.",
		Example: "  blufio cost resume",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.switchSpending(cmd.Context(), bus.SpendingSwitch{})
		},
	}
}

// switchSpending turns the kill switch and says how it stands now.
func (a *app) switchSpending(ctx context.Context, s bus.SpendingSwitch) error {
	sum, err := ask(ctx, a, bus.SpendingSet, s)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(sum)
	}
	text := a.ui(a.out).ok() + " " + switchText(sum.Stopped, sum.StoppedReason) + "\n"
	if sum.Stopped {
		text += "models that cost nothing go on answering\n"
	}
	return a.print(text)
}

// switchText says how the kill switch stands.
func switchText(stopped bool, reason string) string {
	if !stopped {
		return "spending is allowed, within the budgets"
	}
	s := "spending is stopped"
	if reason != "" {
		s += ": " + line(reason)
	}
	return s + "; `blufio cost resume` ends it"
}

// costTable shows totals against the budgets and this month by model.
func costTable(u ui, sum bus.CostSummary) string {
	rows := [][]string{
		{u.bold("today"), u.bar(int64(sum.Today), int64(sum.DailyLimit)), spent(sum.Today, &sum.DailyLimit)},
		{u.bold("month"), u.bar(int64(sum.Month), int64(sum.MonthlyLimit)), spent(sum.Month, &sum.MonthlyLimit)},
	}
	var b strings.Builder
	b.WriteString(table(dropEmpty(rows)))
	if sum.Reserved > 0 {
		fmt.Fprintf(&b, "%s in calls that are under way\n", sum.Reserved)
	}
	if sum.Stopped {
		b.WriteString(u.warn() + " " + switchText(true, sum.StoppedReason) + "\n")
	}
	if len(sum.Models) > 0 {
		b.WriteString("\n" + modelTable(u, sum.Models))
	}
	return b.String()
}

func modelTable(u ui, models []bus.ModelCost) string {
	head := []string{"MODEL THIS MONTH", "CALLS", "INPUT", "OUTPUT", "CACHE READ", "CACHE WRITE", "COST"}
	for i := range head {
		head[i] = u.dim(head[i])
	}
	rows := [][]string{head}
	for _, m := range models {
		rows = append(rows, []string{line(m.Model), fmt.Sprint(m.Calls), fmt.Sprint(m.Usage.Input), fmt.Sprint(m.Usage.Output),
			fmt.Sprint(m.Usage.CacheRead), fmt.Sprint(m.Usage.CacheWrite), m.Amount.String()})
	}
	return table(rows, 1, 2, 3, 4, 5, 6)
}

// dropEmpty leaves out the columns in which every cell is empty.
func dropEmpty(rows [][]string) [][]string {
	used := map[int]bool{}
	for _, row := range rows {
		for i, cell := range row {
			used[i] = used[i] || cell != ""
		}
	}
	slim := make([][]string, len(rows))
	for r, row := range rows {
		for i, cell := range row {
			if used[i] {
				slim[r] = append(slim[r], cell)
			}
		}
	}
	return slim
}
