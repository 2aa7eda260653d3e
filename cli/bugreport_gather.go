// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
)

// Bounds of what a report holds; what the daemon gives has its own.
const (
	reportEvents     = 500
	reportEventBytes = 1 << 20
	reportMetrics    = 1 << 20
	reportPatience   = 30 * time.Second
)

// reportFile is one file of the archive, or why it is not there.
type reportFile struct {
	name, about string
	data        []byte
	err         error
}

// reason is why the file is missing, in a line.
func (f reportFile) reason() string {
	first, _, _ := strings.Cut(explain(f.err).Error(), "\n")
	return first
}

// gather collects everything there is to have, in the order of the archive.
func (a *app) gather(ctx context.Context) ([]reportFile, error) {
	dir, err := a.data()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reportPatience)
	defer cancel()
	g := a.newGatherer(dir)
	if c, err := a.dial(bus.ReportGet, bus.EventsRead, bus.StatusGet); err == nil {
		g.conn = c
		defer hangUp(ctx, c)
	} else {
		g.why = err
	}
	report := func(name, about string, make func(context.Context) ([]byte, error)) reportFile {
		data, err := make(ctx)
		if err != nil { // with what an error may quote
			err = errors.New(g.redactor.Redact(explain(err).Error()))
		}
		return reportFile{name: name, about: about, data: g.clean(name, data), err: err}
	}
	return []reportFile{
		report("version.json", "the program that made this report", func(context.Context) ([]byte, error) { return indent(buildInfo()) }),
		report("system.json", "the machine", func(context.Context) ([]byte, error) { return indent(a.system(dir)) }),
		report("status.json", "how the daemon is, or was last", g.status),
		report("config.json", "every key, its value and where that comes from", g.config),
		report("events.jsonl", "the last events of a day, without the text of messages", g.events),
		report("log.txt", "the last lines of the daemon's log", g.part(bus.PartLog)),
		report("goroutines.txt", "what the daemon is at", g.part(bus.PartGoroutines)),
		report("heap.pprof", "what fills its memory, for go tool pprof", g.part(bus.PartHeap)),
		report("metrics.txt", "its metrics", g.metrics),
		report("doctor.json", "all checks, also the deep ones", g.doctor), // last: the others show the daemon as it was before
	}, nil
}

// gatherer is one report in the making.
type gatherer struct {
	*app
	dir      string
	conn     *bus.Conn
	why      error // there is none
	redactor *config.Redactor
}

// newGatherer knows the secrets that this user can read; what the daemon says has been
// redacted there.
func (a *app) newGatherer(dir string) *gatherer {
	cfg, _, _ := serve.Load(a.sources(nil)) // as much of it as is valid
	r := serve.Redactor(cfg, a.environ)
	if seed, err := os.ReadFile(filepath.Join(dir, "device.nk")); err == nil {
		_ = r.Add(config.NewSecret(strings.TrimSpace(string(seed)))) // a damaged one is no secret
	}
	return &gatherer{app: a, dir: dir, redactor: r}
}

func (g *gatherer) clean(name string, data []byte) []byte {
	switch {
	case strings.HasSuffix(name, ".pprof"):
		return data // compressed, and of addresses and names of code only
	case strings.HasSuffix(name, ".json"), strings.HasSuffix(name, ".jsonl"):
		return g.redactor.RedactJSON(data)
	}
	return []byte(g.redactor.Redact(string(data)))
}

func indent(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

func (g *gatherer) status(ctx context.Context) ([]byte, error) {
	p, err := g.picture(ctx)
	if err != nil {
		return nil, err
	}
	return indent(p.facts())
}

// config is the daemon's, or what it would start with; of an invalid one its problems.
func (g *gatherer) config(ctx context.Context) ([]byte, error) {
	if data, err := g.part(bus.PartConfig)(ctx); err == nil {
		return data, nil
	}
	_, loaded, err := serve.Load(g.sources(nil))
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		return indent(verdict(problems, nil))
	case err != nil:
		return nil, err
	}
	vaulted, _ := g.vaulted(ctx)
	e := serve.Effective{Loaded: loaded, Vaulted: vaulted}
	return indent(e.Shown(e.Keys()))
}

// part asks the daemon for what only it has.
func (g *gatherer) part(name string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		if g.conn == nil {
			return nil, g.why
		}
		p, err := bus.ReportGet.Ask(ctx, g.conn, bus.ReportQuery{Part: name})
		if p.Data != nil || err != nil {
			return p.Data, err
		}
		if p.Cut {
			p.Text += "\n[cut: there was more]\n"
		}
		return []byte(p.Text), nil
	}
}

// events are the last ones of a day, one a line.
func (g *gatherer) events(ctx context.Context) ([]byte, error) {
	if g.conn == nil {
		return nil, g.why
	}
	end, err := bus.EventsRead.Ask(ctx, g.conn, bus.EventQuery{After: math.MaxInt64}) // nothing is behind that: it tells the newest position
	if err != nil {
		return nil, err
	}
	q := bus.EventQuery{After: max(end.Last-reportEvents, 0), Limit: reportEvents}
	var last []bus.EventRecord
	for more := true; more && len(last) < reportEvents; {
		page, err := bus.EventsRead.Ask(ctx, g.conn, q)
		if err != nil {
			return nil, err
		}
		last = append(last, page.Events...)
		q.After, more = page.Last, page.More && page.Last > q.After
	}
	yesterday := g.now().Add(-24 * time.Hour)
	return eventLines(slices.DeleteFunc(last, func(e bus.EventRecord) bool { return e.Time.Before(yesterday) }))
}

// eventLines leaves out the text of messages, and the oldest beyond the bound.
func eventLines(events []bus.EventRecord) ([]byte, error) {
	lines := make([][]byte, len(events))
	bytesLeft, from := reportEventBytes, 0
	for i := len(events) - 1; i >= 0; i-- {
		var payload map[string]json.RawMessage
		if json.Unmarshal(events[i].Payload, &payload) == nil && payload["text"] != nil {
			payload["text"] = json.RawMessage(`"[left out]"`)
			events[i].Payload, _ = json.Marshal(payload) // it was JSON before
		}
		one, err := json.Marshal(events[i])
		if err != nil {
			return nil, fmt.Errorf("encode event: %w", err)
		}
		if bytesLeft -= len(one) + 1; bytesLeft < 0 {
			from = i + 1
			break
		}
		lines[i] = append(one, '\n')
	}
	return bytes.Join(lines[from:], nil), nil
}

// metrics are the gateway's, where it shows them without a token.
func (g *gatherer) metrics(ctx context.Context) ([]byte, error) {
	if g.conn == nil {
		return nil, g.why
	}
	info, err := serve.ReadInfo(g.dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, info.Gateway+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy: it is this machine
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the gateway answers with status %d", resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, reportMetrics))
}

// doctor makes all checks, as `blufio doctor --deep` does.
func (g *gatherer) doctor(ctx context.Context) ([]byte, error) {
	c := checkup{deep: true}
	r := g.reach(ctx, g.dir, c)
	if r.conn != nil {
		defer hangUp(ctx, r.conn)
	}
	report := bus.DoctorReport{Schema: bus.DoctorSchema, Mode: r.mode(), Findings: []bus.Finding{}}
	var mu sync.Mutex
	found := func(f bus.Finding) {
		mu.Lock()
		defer mu.Unlock()
		report.Findings = append(report.Findings, f)
	}
	var checks sync.WaitGroup
	checks.Go(func() { serve.Examine(ctx, g.exam(g.dir, c, r), found) })
	checks.Go(func() { g.askDoctor(ctx, c, &r, found) })
	checks.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	serve.Sort(report.Findings)
	report.Result = verdictOf(report.Findings)
	return indent(report)
}

// machine is what a fault may depend on.
type machine struct {
	OS            string   `json:"os"`
	Arch          string   `json:"arch"`
	Kernel        string   `json:"kernel"`
	Distribution  string   `json:"distribution"`
	Go            string   `json:"go"`
	CPUs          int      `json:"cpus"`
	Docker        bool     `json:"docker"`
	Root          bool     `json:"root"` // who made the report
	TimeZone      string   `json:"time_zone"`
	Disk          uint64   `json:"disk_bytes"`
	DiskFree      uint64   `json:"disk_free_bytes"`
	Variables     []string `json:"variables"` // names alone
	ControlGroup  string   `json:"cgroup"`
	Memory        string   `json:"meminfo"`
	ProcessLimits string   `json:"limits"` // of this command
}

func (a *app) system(dir string) machine {
	m := machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(), CPUs: runtime.NumCPU(), Root: os.Geteuid() == 0,
		Kernel: head("/proc/sys/kernel/osrelease"), Memory: head("/proc/meminfo"), ProcessLimits: head("/proc/self/limits"), TimeZone: a.now().Format("MST -0700")}
	for name := range strings.FieldsSeq("memory.max memory.high memory.current cpu.max pids.max") {
		if text := head("/sys/fs/cgroup/" + name); text != "" {
			m.ControlGroup += name + " " + text + "\n"
		}
	}
	for l := range strings.Lines(head("/etc/os-release")) {
		if name, ok := strings.CutPrefix(l, "PRETTY_NAME="); ok {
			m.Distribution = strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	if _, err := os.Stat("/.dockerenv"); err == nil {
		m.Docker = true
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err == nil {
		m.DiskFree, m.Disk = disk.Bavail*uint64(disk.Bsize), disk.Blocks*uint64(disk.Bsize)
	}
	for _, variable := range a.environ {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "BLUFIO_") || strings.HasPrefix(name, "GO") || strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			m.Variables = append(m.Variables, name)
		}
	}
	return m
}

// head is the beginning of a small file, "" where there is none.
func head(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 8<<10))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
