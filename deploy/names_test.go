// SPDX-License-Identifier: MIT OR Apache-2.0

package deploy

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/cli"
	"github.com/blufio/blufio/services/serve"
)

// exposition is a scrape: the labels of every series, by name.
type exposition map[string][]map[string]string

var (
	sample = regexp.MustCompile(`(?m)^([a-z_0-9]+)(?:\{(.*)\})? \S+$`)
	label  = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
)

// firstScrape is what a daemon that has done nothing shows.
func firstScrape(t *testing.T) exposition {
	t.Helper()
	d := start(t, func(*serve.Config) {})
	code, body := fetch(t, "http://"+d.address+"/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", code, body)
	}
	all := exposition{}
	for _, m := range sample.FindAllStringSubmatch(string(body), -1) {
		labels := map[string]string{}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			labels[l[1]] = l[2]
		}
		all[m[1]] = append(all[m[1]], labels)
	}
	return all
}

// files are those that name metrics, with their text.
func files(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"prometheus/blufio*.yml", "grafana/dashboards/*.json"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			all[path] = strings.ReplaceAll(read(t, path), `\"`, `"`)
		}
	}
	return all
}

var (
	metric   = regexp.MustCompile(`\b(?:(?:blufio|go|process)_[a-z0-9_]*[a-z0-9]|[a-z_]+:[a-z_]+:[a-z_0-9]+)\b`)
	record   = regexp.MustCompile(`(?m)^ +- record: (\S+)$`)
	selector = regexp.MustCompile(`\b((?:blufio|go|process)_[a-z0-9_]+)\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`([a-z_]+)(=~|!~|!=|=)"([^"]*)"`)
)

// hidden are metrics that are there on this machine, and not under our unit, with why.
var hidden = map[string]string{
	"process_start_time_seconds": "it is counted from the machine's start, which stands in /proc/stat, and ProcSubset=pid hides that",
}

// Every metric that rules, fixtures and dashboard name is there at a daemon's first
// scrape, or is recorded, and is there under the packaged unit, too.
func TestEveryMetricExists(t *testing.T) {
	there, texts := firstScrape(t), files(t)
	recorded := map[string]bool{}
	for _, m := range record.FindAllStringSubmatch(texts["prometheus/blufio.recording.yml"], -1) {
		recorded[m[1]] = true
	}
	named := map[string]bool{}
	for path, text := range texts {
		for _, name := range metric.FindAllString(text, -1) {
			named[name] = true
			if there[name] == nil && !recorded[name] {
				t.Errorf("%s: there is no %s", path, name)
			}
			if why := hidden[name]; why != "" {
				t.Errorf("%s: there is no %s under the unit: %s", path, name, why)
			}
		}
	}
	for name := range recorded {
		used := 0
		for path, text := range texts {
			if path != "prometheus/blufio.recording.yml" && strings.Contains(text, name) {
				used++
			}
		}
		if used == 0 {
			t.Errorf("%s is recorded and nobody asks for it", name)
		}
	}
	if len(named) < 80 {
		t.Errorf("only %d metrics are named", len(named))
	}
}

// Every label that rules and dashboard choose by is one of the metric's, and every
// value one that it can have.
func TestEveryLabelExists(t *testing.T) {
	there, checked := firstScrape(t), 0
	for path, text := range files(t) {
		if strings.HasSuffix(path, ".test.yml") {
			continue // there, models and providers have names
		}
		for _, s := range selector.FindAllStringSubmatch(text, -1) {
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				if m[1] == "job" || m[1] == "instance" { // these are Prometheus's
					continue
				}
				for v := range strings.SplitSeq(m[3], "|") {
					checked++
					if !hasLabel(there[s[1]], m[1], v) {
						t.Errorf("%s: no series of %s has %s=%q", path, s[1], m[1], v)
					}
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d values were checked", checked)
	}
}

func hasLabel(series []map[string]string, name, value string) bool {
	want := regexp.MustCompile("^(?:" + strings.ReplaceAll(value, `\\`, `\`) + ")$")
	return slices.ContainsFunc(series, func(labels map[string]string) bool {
		v, ok := labels[name]
		return ok && want.MatchString(v)
	})
}

// alert is one, as the file has it.
type alert struct{ name, severity, summary, description string }

var (
	alertBegin = regexp.MustCompile(`(?m)^ +- alert: `)
	severity   = regexp.MustCompile(`severity: (critical|warning) }`)
	summary    = regexp.MustCompile(`(?m)^ +summary: "(.+)"$`)
	describe   = regexp.MustCompile(`(?m)^ +description: "(.+)"$`)
	command    = regexp.MustCompile("`blufio ([^`]+)`")
	examined   = regexp.MustCompile(`--only (\S+)`)
)

func alerts(t *testing.T) (all []alert) {
	t.Helper()
	first := func(r *regexp.Regexp, text string) string {
		if m := r.FindStringSubmatch(text); m != nil {
			return m[1]
		}
		return ""
	}
	for _, text := range alertBegin.Split(read(t, "prometheus/blufio.alerts.yml"), -1)[1:] {
		name, _, _ := strings.Cut(text, "\n")
		all = append(all, alert{name, first(severity, text), first(summary, text), first(describe, text)})
	}
	if len(all) < 15 {
		t.Fatalf("only %d alerts", len(all))
	}
	return all
}

// Every alert has a severity, a summary, and a description with a command that exists.
func TestAlertsSayWhatToDo(t *testing.T) {
	checks := read(t, "../DOCTOR.md")
	for _, a := range alerts(t) {
		if a.severity == "" || a.summary == "" || a.description == "" {
			t.Errorf("%s lacks something: %+v", a.name, a)
		}
		commands := command.FindAllStringSubmatch(a.description, -1)
		if len(commands) == 0 {
			t.Errorf("%s names no command: %s", a.name, a.description)
		}
		for _, m := range commands {
			if errs := understood(m[1]); errs != "" {
				t.Errorf("%s: blufio %s: %s", a.name, m[1], errs)
			}
			if id := examined.FindStringSubmatch(m[1]); id != nil && !strings.Contains(checks, id[1]+"-") {
				t.Errorf("%s: no check begins with %s", a.name, id[1])
			}
		}
	}
}

var words = regexp.MustCompile(`^[a-z-]+( [a-z][a-z-]*)*`)

// understood is "" if the command line knows a command with its flags, and for events
// their names; else what it says.
func understood(command string) string {
	args, want := append(strings.Fields(command), "--help"), "Usage:\n  blufio "+words.FindString(command)
	if args[0] == "events" {
		args, want = []string{"events", args[1], "--list"}, args[1]
	}
	var out, errs bytes.Buffer
	if cli.Main(args, strings.NewReader(""), &out, &errs, nil) != 0 || !strings.Contains(out.String(), want) {
		return "not understood " + out.String() + errs.String()
	}
	return ""
}

var fixture = regexp.MustCompile(`(?m)^ +- (?:\{ )?expr: 'ALERTS\{alertname="(\w+)", alertstate="firing"\}'(.*)$(?:\n +eval_time: \S+)?(?:\n +exp_samples: (.*))?`)

// Every alert has a fixture in which it fires and one in which it does not.
func TestEveryAlertHasFixtures(t *testing.T) {
	fires, quiet := map[string]bool{}, map[string]bool{}
	for path, text := range files(t) {
		if !strings.HasSuffix(path, ".test.yml") {
			continue
		}
		for _, m := range fixture.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[3], `alertname="`+m[1]+`"`) {
				fires[m[1]] = true
			} else if m[3] == "" {
				quiet[m[1]] = true
			}
		}
	}
	known := map[string]bool{}
	for _, a := range alerts(t) {
		known[a.name] = true
		if !fires[a.name] || !quiet[a.name] {
			t.Errorf("%s: it fires in a fixture: %v, it does not in one: %v", a.name, fires[a.name], quiet[a.name])
		}
	}
	if !maps.Equal(known, fires) {
		t.Errorf("the fixtures are for %v", slices.Sorted(maps.Keys(fires)))
	}
}

// query is what the dashboard asks.
type query struct{ panel, expr string }

// queries are all of a dashboard's, in the words of Grafana.
func queries(t *testing.T) (all []query) {
	t.Helper()
	var board struct {
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr string }
		}
		Annotations struct {
			List []struct{ Name, Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/dashboards/blufio.json")), &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("the panel %q asks nothing", p.Title)
		}
		for _, q := range p.Targets {
			all = append(all, query{p.Title, q.Expr})
		}
	}
	for _, a := range board.Annotations.List {
		all = append(all, query{a.Name, a.Expr})
	}
	return all
}

// Whoever chooses a daemon sees that one alone.
func TestEveryQueryIsOfTheChosenDaemon(t *testing.T) {
	for _, q := range queries(t) {
		for _, s := range selector.FindAllStringSubmatch(q.expr, -1) {
			if !strings.Contains(s[2], `job="blufio", instance=~"$instance"`) {
				t.Errorf("%s: %s is of every daemon: %s", q.panel, s[1], q.expr)
			}
		}
	}
}
