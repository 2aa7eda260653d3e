// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
)

// offlineProvider stands in where no model is set up.
const offlineProvider = "offline"

// dashboard draws a status for people: one labelled line for each thing they ask
// about, more only where something is wrong.
func dashboard(u ui, p picture, now time.Time) string {
	d := drawing{u: u, now: now}
	d.head(p)
	d.agent(p)
	if m := p.Memory; m != nil {
		d.memory(m)
	}
	if p.Cost != nil {
		d.cost(p.Cost)
	}
	if q := p.Queues; q != nil {
		d.fact("queues", d.join(fmt.Sprintf("inbox %d", q.Inbox), fmt.Sprintf("outbox %d", q.Outbox), d.dead(q.Dead)))
	}
	if c := p.Context; c != nil && c.Summaries+c.Made+c.KeptWhole+c.Failed > 0 {
		d.context(c)
	}
	if r := p.Recall; r != nil {
		d.recall(r)
	}
	d.backup(p.Backup)
	d.channels(p)
	if p.State != bus.Stopped {
		d.services(p.Services)
	}
	return d.String()
}

// drawing is a dashboard half drawn.
type drawing struct {
	strings.Builder
	u   ui
	now time.Time
}

func (d *drawing) fact(label, text string) {
	d.WriteString(d.u.dim(fmt.Sprintf("%-9s", label)) + " " + text + "\n")
}

// context is what stands for the older part of conversations, and what did not come to be.
func (d *drawing) context(c *bus.ContextCounts) {
	some := func(n int64, what string) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%d %s", n, what)
	}
	d.fact("context", d.join(fmt.Sprintf("%d summaries", c.Summaries), some(c.Made, "made since the start"), some(c.KeptWhole, "not taken"), some(c.Failed, "failed")))
}

func (d *drawing) join(parts ...string) string {
	kept := parts[:0:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, d.u.sep())
}

// mark is the symbol of a state.
func (d *drawing) mark(state string) string {
	switch state {
	case bus.Healthy:
		return d.u.ok()
	case bus.Degraded:
		return d.u.warn()
	}
	return d.u.bad()
}

func (d *drawing) head(p picture) {
	name := d.u.bold("blufio " + line(p.Version))
	if p.State == bus.Stopped {
		fmt.Fprintf(d, "%s %s is not running; last known at %s\n", d.mark(p.State), name, moment(*p.last, d.now))
		return
	}
	up := span(time.Duration(p.UptimeSeconds) * time.Second)
	fmt.Fprintf(d, "%s %s\n", d.mark(p.State), d.join(name+" is "+d.state(p.State), "up "+up, line(p.Node), fmt.Sprintf("pid %d", p.PID)))
}

func (d *drawing) state(s string) string {
	if s == bus.Healthy {
		return d.u.green(s)
	}
	return d.u.yellow(line(s))
}

func (d *drawing) agent(p picture) {
	switch p.Provider {
	case "":
	case offlineProvider:
		d.fact("model", "no model ("+offlineProvider+")")
	default:
		d.fact("model", d.join(line(p.Provider), line(p.Model)))
	}
	if s := p.Sessions; s != nil {
		cut := ""
		if s.Interrupted > 0 {
			cut = plural(s.Interrupted, "turn") + " interrupted since the beginning"
		}
		d.fact("sessions", d.join(fmt.Sprintf("%d active", s.Active), fmt.Sprintf("%d in all", s.Total), cut))
	}
}

// memory shows the share that the level is judged by. Of the limit, which may be the
// control group's, RSS is no share: pages of files do not count there.
func (d *drawing) memory(m *bus.Memory) {
	bar, used, limit, pressure := "", "", "", ""
	if m.Used > 0 { // else an older daemon has not told it
		bar, used = d.u.bar(m.Used, 100), fmt.Sprintf("%d %% taken", m.Used)
	}
	if m.Limit > 0 {
		limit = "limit " + size(m.Limit)
	}
	if m.Pressure != "" && m.Pressure != bus.PressureNormal {
		pressure = d.u.yellow("pressure " + line(m.Pressure))
	}
	d.fact("memory", d.withBar(bar, d.join(used, size(m.RSS)+" resident", limit, "heap "+size(m.Heap), pressure)))
}

// recall says how much is known of people, and what finds it.
func (d *drawing) recall(r *bus.RecallStatus) {
	if !r.Enabled {
		d.fact("recall", "switched off")
		return
	}
	by := map[string]string{bus.RecallBuiltIn: "built-in embedder", bus.RecallLocal: "embedding model", bus.RecallServer: "embedding server"}[r.Kind]
	pending := ""
	switch {
	case by == "" && r.Problem != "":
		by = d.u.yellow("found by words alone")
	case by == "":
		by = "found by words until the embedder is open"
	case r.Pending > 0:
		pending = plural(r.Pending, "vector") + " to be made"
	}
	d.fact("recall", d.join(plural(r.Entries, "fact"), by, pending))
}

func (d *drawing) withBar(bar, text string) string {
	if bar == "" {
		return text
	}
	return bar + " " + text
}

func (d *drawing) cost(c *bus.CostStatus) {
	bar := func(m bus.MicroUSD, limit *bus.MicroUSD) string {
		if limit == nil {
			return spent(m, nil)
		}
		return d.withBar(d.u.bar(int64(m), int64(*limit)), spent(m, limit))
	}
	d.fact("today", bar(c.Today, c.DailyLimit))
	d.fact("month", bar(c.Month, c.MonthlyLimit))
	if c.Stopped {
		d.fact("spending", d.u.warn()+" "+switchText(true, ""))
	}
}

func (d *drawing) dead(n int64) string {
	s := fmt.Sprintf("dead %d", n)
	if n > 0 {
		return d.u.yellow(s) + " (`blufio queue list`)"
	}
	return s
}

func (d *drawing) backup(b bus.BackupStatus) {
	failed := ""
	if b.LastFailure != nil {
		failed = d.u.yellow("failed "+ago(b.LastFailure, d.now)) + " (`blufio backup list`)"
	}
	switch {
	case b.LastSuccess != nil:
		cost := ""
		if b.Bytes > 0 {
			cost = fmt.Sprintf("%s in %.1fs", size(b.Bytes), b.Seconds)
		}
		tried := ""
		if b.LastDrilled != nil {
			tried = "restored on trial " + ago(b.LastDrilled, d.now)
		} else if b.NotDrilled == bus.NotDrilledEncrypted {
			tried = "not restored on trial (the daemon cannot open what it encrypts)"
		}
		d.fact("backup", d.join("made "+ago(b.LastSuccess, d.now), cost, "verified "+ago(b.LastVerified, d.now), tried, failed))
	case failed != "":
		d.fact("backup", d.join("none yet", failed))
	case b.NextDue != nil:
		d.fact("backup", "none yet; the first is due at "+b.NextDue.Local().Format("15:04"))
	}
	if r := b.Replaced; r.Dirs > 0 {
		d.fact("replaced", fmt.Sprintf("%s in %d of pre-restore-… in the data directory: delete them once nobody goes back", size(r.Bytes), r.Dirs))
	}
}

// channels shows the evidence: a success or an error, with its age.
func (d *drawing) channels(p picture) {
	if len(p.Channels) == 0 {
		return
	}
	d.WriteString("\n" + d.u.bold("channels") + "\n")
	var rows [][]string
	for _, c := range p.Channels {
		evidence := "last success " + ago(c.LastSuccess, d.now)
		if c.LastError != nil {
			evidence = d.join(evidence, "last error "+ago(c.LastErrorAt, d.now)+": "+line(*c.LastError))
		}
		mark := d.mark(c.State)
		if idle(c, p.Services) || slices.Contains(p.idle, c.Name) {
			mark, evidence = d.u.off(), d.u.dim("not configured")
		}
		rows = append(rows, []string{"  " + mark, line(c.Name), evidence})
	}
	d.WriteString(table(rows))
}

// idle reports whether a channel is stopped because nobody set it up: its room is
// well, and has nothing to do.
func idle(c bus.Channel, services []bus.ServiceStatus) bool {
	return c.State == bus.Stopped && slices.ContainsFunc(services, func(s bus.ServiceStatus) bool {
		return s.Name == c.Name && s.State == bus.Healthy
	})
}

// services lists the rooms that are well on one line, and explains the others.
func (d *drawing) services(services []bus.ServiceStatus) {
	if len(services) == 0 {
		return
	}
	d.WriteString("\n" + d.u.bold("services") + "\n")
	var well []string
	for _, s := range services {
		if s.State == bus.Healthy && s.Restarts == 0 && len(s.Problems) == 0 {
			well = append(well, line(s.Name))
			continue
		}
		d.service(s)
	}
	if len(well) > 0 {
		d.WriteString("  " + d.u.ok() + "  " + strings.Join(well, ", ") + "\n")
	}
}

func (d *drawing) service(s bus.ServiceStatus) {
	restarts := ""
	if s.Restarts > 0 {
		restarts = plural(int64(s.Restarts), "restart")
	}
	d.WriteString("  " + d.mark(s.State) + "  " + d.join(line(s.Name), restarts) + "\n")
	for _, p := range s.Problems {
		const indent, width = "      ", 80
		title := wrap(line(p.Title)+" ["+line(p.Code)+"]", width-len(indent))
		last := len(title) - 1
		title[last] = strings.Replace(title[last], "["+line(p.Code)+"]", d.u.dim("["+line(p.Code)+"]"), 1)
		d.WriteString(indent + strings.Join(title, "\n"+indent) + "\n")
		if p.Hint != "" {
			hint := wrap("hint: "+line(p.Hint), width-len(indent))
			d.WriteString(indent + strings.Replace(strings.Join(hint, "\n"+indent), "hint:", d.u.yellow("hint:"), 1) + "\n")
		}
	}
}
