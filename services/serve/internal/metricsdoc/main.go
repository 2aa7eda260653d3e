// SPDX-License-Identifier: MIT OR Apache-2.0

// Command metricsdoc writes METRICS.md from what a daemon shows at its first
// scrape. Run it with `go generate ./services/serve`.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/blufio/blufio/services/governor"
	"github.com/blufio/blufio/services/serve"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func main() {
	text, err := generate(context.Background())
	if err == nil {
		err = os.WriteFile(filepath.Join("../..", "METRICS.md"), []byte(text), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "metricsdoc:", err)
		os.Exit(1)
	}
}

// generate returns the content of METRICS.md.
func generate(ctx context.Context) (string, error) {
	families, err := firstScrape(ctx)
	if err != nil {
		return "", err
	}
	return render(families), nil
}

// machine is one on which everything can be read, so that what is written does not
// depend on the one it is written on.
func machine() governor.Deps {
	const stall = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
	files := fstest.MapFS{}
	for name, content := range map[string]string{
		"proc/self/statm": "9999 9000 3 4 0 5 0\n", "proc/self/status": "RssAnon:\t20000 kB\n", "proc/self/cgroup": "0::/\n",
		"sys/fs/cgroup/memory.max": "134217728\n", "sys/fs/cgroup/memory.current": "33554432\n",
		"sys/fs/cgroup/memory.stat": "anon 20971520\nkernel 1048576\n", "sys/fs/cgroup/memory.pressure": stall,
	} {
		files[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return governor.Deps{Root: files, PageSize: 4096}
}

// firstScrape runs a daemon for as long as it takes to ask it.
func firstScrape(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	dir, err := os.MkdirTemp("", "metricsdoc")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	o := serve.Options{Config: serve.Defaults(), DataDir: filepath.Join(dir, "data"), Version: "test", Logger: slog.New(slog.DiscardHandler), Memory: machine()}
	o.Config.Gateway.Listen, o.Config.Bus.Listen = "127.0.0.1:0", "127.0.0.1:0"
	ready, ended := make(chan string, 1), make(chan error, 1)
	o.Ready = func(i serve.Info) { ready <- i.Gateway }
	go func() { ended <- serve.Run(ctx, o) }()
	select {
	case err := <-ended:
		return nil, cmp.Or(err, errors.New("the daemon ended"))
	case url := <-ready:
		families, err := scrape(ctx, url+"/metrics")
		stop()
		return families, errors.Join(err, <-ended)
	}
}

func scrape(ctx context.Context, url string) (map[string]*dto.MetricFamily, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape: %s", resp.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(resp.Body)
}

const head = `<!-- Generated from the first scrape of a daemon by go generate; do not edit. -->
# Metrics

` + "`GET /metrics`" + ` of the gateway, for any Prometheus: open on a loopback address, else with a token of the scope ` + "`metrics`" + ` (or
` + "`gateway.metrics_open`" + `). Every family below is there from the first scrape, every label has a closed set of values, and those known
beforehand begin at 0. Models and providers are those that are configured, and models that a provider names itself, at most 50 in all;
further ones are ` + "`other`" + `. What cannot be read is absent, never 0. Beside these there are Go's (` + "`go_*`" + `) and the process's (` + "`process_*`" + `).

A gauge whose name ends in ` + "`_limit`" + ` is the bound of the gauge without it.

| family | type | labels | meaning |
|---|---|---|---|
`

// render makes the table of our families.
func render(families map[string]*dto.MetricFamily) string {
	var b strings.Builder
	b.WriteString(head)
	for _, name := range slices.Sorted(maps.Keys(families)) {
		f := families[name]
		if !strings.HasPrefix(name, "blufio_") {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, kind(f), labels(f), cell(f.GetHelp()))
	}
	return b.String()
}

func kind(f *dto.MetricFamily) string { return strings.ToLower(f.GetType().String()) }

// open are the labels whose values are not the same everywhere.
var open = []string{"model", "provider", "version", "go"}

// mostValues is how many values are written out.
const mostValues = 8

// labels tells a family's labels, and the values of those that have few.
func labels(f *dto.MetricFamily) string {
	values := map[string]map[string]bool{}
	var names []string
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if values[l.GetName()] == nil {
				values[l.GetName()] = map[string]bool{}
				names = append(names, l.GetName())
			}
			values[l.GetName()][l.GetValue()] = true
		}
	}
	var out []string
	for _, name := range names {
		text := "`" + name + "`"
		if vs := slices.Sorted(maps.Keys(values[name])); !slices.Contains(open, name) && len(vs) <= mostValues {
			text += ": " + strings.Join(vs, ", ")
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
