// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm/offline"
	"github.com/blufio/blufio/services/backup"
	"github.com/blufio/blufio/services/channel/gateway"
	"github.com/blufio/blufio/services/channel/telegram"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/cost"
	"github.com/blufio/blufio/services/doctor"
	"github.com/blufio/blufio/services/governor"
	"github.com/blufio/blufio/services/hub"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/keys"
	"github.com/blufio/blufio/services/recall"
	"github.com/blufio/blufio/services/relay"
	"github.com/blufio/blufio/services/vault"
)

// Exam is doctor's look from outside of the daemon.
type Exam struct {
	DataDir string
	Sources config.Sources
	Daemon  Info                                    // where it is reached; zero when none runs
	Live    bool                                    // it makes its own checks: only those are made here that are the outside's
	Locked  bool                                    // one runs, whether it answers or not: its database is left alone
	Vaulted func(context.Context) ([]string, error) // names in the vault of a daemon that answers
	Deep    bool
	Only    []string // ids; empty is all
	Skip    []string
	Timeout time.Duration // of each check; 0 is its own
	Now     func() time.Time
}

// Check is one line of doctor's table.
type Check struct {
	ID        string `json:"id"`
	Title     string `json:"title"`
	Why       string `json:"why"`
	Fix       string `json:"fix"`
	Deep      bool   `json:"deep"`
	Daemon    bool   `json:"daemon"` // a running one is needed
	TimeoutMS int64  `json:"timeout_ms"`
	Outside   bool   `json:"-"` // made by the command line, whether a daemon runs or not
}

// Checks is the whole table, in its order.
func Checks() []Check {
	var all []Check
	for _, p := range table() {
		f := p.Found(services.Result{})
		all = append(all, Check{ID: p.ID, Title: p.Title, Why: p.Why, Fix: p.Fix, Deep: p.Deep, Daemon: p.Place == services.Inside, Outside: p.Place == services.Outside, TimeoutMS: f.TimeoutMS})
	}
	return all
}

// Finding is what came of a check that somebody else made.
func Finding(id, level, seen, fix string) bus.Finding {
	for _, p := range table() {
		if p.ID == id {
			return p.Found(services.Result{Level: level, Seen: seen, Fix: fix})
		}
	}
	return bus.Finding{ID: id, Level: level, Seen: seen, Fix: fix}
}

// Sort puts findings into the order of the table.
func Sort(found []bus.Finding) {
	slices.SortStableFunc(found, func(a, b bus.Finding) int { return services.CompareIDs(a.ID, b.ID) })
}

// Examine makes the checks that are made outside of the daemon and tells each finding
// as it is there. Without a daemon that answers these are all that can be made, and
// the others are told as skipped. A configuration that is not valid is a finding, and
// what of it can be read is used for the other checks.
func Examine(ctx context.Context, e Exam, found func(bus.Finding)) {
	var x services.Examiner
	exam := services.Exam{Deep: e.Deep, Only: e.Only, Skip: e.Skip, Timeout: e.Timeout}
	if e.Live {
		x.Run(ctx, e.outside(), exam, found)
		return
	}
	s := e.see(ctx)
	defer s.close()
	x.Run(ctx, e.probes(s), exam, func(f bus.Finding) {
		f.Seen, f.Fix = s.secrets.Redact(f.Seen), s.secrets.Redact(f.Fix)
		found(f)
	})
}

// probes are those that can be made without a daemon, and the others as skipped.
func (e Exam) probes(s *sight) []services.Probe {
	own := slices.Concat(e.outside(), e.either(s))
	for _, p := range table() {
		if p.Place == services.Inside {
			p.Run = func(context.Context) services.Result { return services.Skip("the daemon is needed for it") }
			own = append(own, p)
		}
	}
	return own
}

// outside are the checks that the daemon cannot make of itself.
func (e Exam) outside() []services.Probe {
	return slices.Concat(e.otherConfig(), doctor.FileProbes(e.DataDir, e.Now), e.gatewayProbes())
}

// either are the checks that are made here only when no daemon makes them.
func (e Exam) either(s *sight) []services.Probe {
	open := doctor.StoppedDatabase(databasePath(e.DataDir), schemas(), sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if e.Locked {
		open = doctor.HeldDatabase
	}
	return slices.Concat(configProbes(e.Sources, e.DataDir, s.vaulted, notMine), doctor.DatabaseProbes(open), doctor.DiskProbes(e.DataDir), doctor.MachineProbes(false, e.DataDir), s.probes(e))
}

// table is every check there is; they can be listed, not run.
func table() []services.Probe {
	e := Exam{DataDir: "DATA_DIR", Now: time.Now}
	all := slices.Concat(e.outside(), runProbes(), e.either(&sight{cfg: Defaults()}))
	for _, p := range slices.Concat(roomProbes(), (Options{}).probes(nil)) {
		if p.Place == services.Inside {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b services.Probe) int { return services.CompareIDs(a.ID, b.ID) })
	return newEffects().tell(all)
}

// roomProbes are those that the rooms make.
func roomProbes() []services.Probe {
	return slices.Concat(relay.Probes(nil), vault.Probes(nil), hub.Probes(nil), governor.Probes(nil), backup.Probes(nil), keys.Probes(nil), cost.Probes(nil), recall.Probes(nil), agent.Probes(nil), telegram.Probes(nil),
		gateway.Probes(nil), doctor.Probes(nil))
}

// limitProbes tell of a bill without a bound.
func (c Config) limitProbes() []services.Probe {
	return []services.Probe{{
		ID: "BLF-COST-004", Title: "There is a budget", Place: services.Either,
		Why: "without one nothing ends a bill but the provider",
		Fix: "set cost.daily_usd or cost.monthly_usd",
		Run: func(context.Context) services.Result {
			switch {
			case c.Cost.DailyUSD > 0 || c.Cost.MonthlyUSD > 0:
				return services.OK("$%v a day, $%v a month; 0 is no limit", c.Cost.DailyUSD, c.Cost.MonthlyUSD)
			case !slices.ContainsFunc(c.Agent.Provider, func(p string) bool { return p != offline.Name }):
				return services.OK("there is none, and no model that costs anything")
			}
			return services.Info("models are asked without a limit")
		},
	}}
}

// reachable is the check whether a daemon answers.
const reachable = "BLF-RUN-001"

// runProbes is the check that whoever asks the daemon makes by asking.
func runProbes() []services.Probe {
	return []services.Probe{{
		ID: reachable, Title: "The daemon runs and answers", Place: services.Outside,
		Why: "without it nobody is answered",
		Fix: "start it with `blufio serve`, or name its data directory with --data-dir",
	}}
}
