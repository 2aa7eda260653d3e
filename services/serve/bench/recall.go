// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/recall/embed/modeltest"
	"github.com/blufio/blufio/services/recall/recalltest"
	"github.com/nats-io/nats.go"
)

// sizes are how much recall is measured with.
type sizes struct {
	shape    modeltest.Spec // of the sentence models
	facts    int            // of one person
	few      int            // of those a model makes vectors: in the background it works a quarter of the time
	searches int
	turns    int
	talks    int // conversations with a summary
	rounds   int // of embedding
}

// wholeSizes are those that the bars are for. The model has the shape of all-MiniLM-L6-v2.
func wholeSizes() sizes {
	return sizes{shape: modeltest.MiniLM(modeltest.Float32), facts: 10_000, few: 20, searches: 300, turns: 300, talks: 120, rounds: 60}
}

// Forms of a model.
const (
	float32s = "fp32"
	int8s    = "int8"
)

const (
	known     = "gateway:owner" // whose facts they are: who has a token of the command line
	recallDue = 3 * time.Minute // for vectors to be made
)

// model makes a sentence model, once, with random weights and the facts' words for its vocabulary.
func (r *run) model(form string) (dir string, err error) {
	if dir := r.models[form]; dir != "" {
		return dir, nil
	}
	spec := r.sizes.shape
	if form == int8s {
		spec.Form, spec.Tables8 = modeltest.Dynamic8, true
	}
	spec.Pieces = modeltest.Pieces()
	seen := map[string]bool{}
	for _, p := range spec.Pieces {
		seen[p] = true
	}
	for _, fact := range recalltest.Facts(r.sizes.facts) {
		for _, w := range strings.Fields(fact) {
			if !seen[w] && w[0] > '9' {
				seen[w] = true
				spec.Pieces = append(spec.Pieces, w)
			}
		}
	}
	if dir, err = r.dir("model"); err != nil {
		return "", err
	}
	r.models[form] = dir
	return dir, modeltest.Save(dir, spec)
}

// modelConfig is that of a daemon with a model and more settings; without a form it has no model.
func (r *run) modelConfig(form, more string) (path string, err error) {
	text := freePorts + more
	if form != "" {
		dir, err := r.model(form)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf("[recall]\nmodel_dir = %q\n", dir)
	}
	path = filepath.Join(r.tmp, "recall-"+form+".toml")
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// remembering is a daemon that is asked over the bus, as the command line asks it.
type remembering struct {
	*daemon
	conn *bus.Conn
}

// remember starts a daemon on a directory and dials it.
func (r *run) remember(dir, config string) (*remembering, error) {
	d, err := r.startWith(dir, config)
	if err != nil {
		return nil, err
	}
	device, err := embedded.LoadDevice(dir)
	if err != nil {
		return nil, errors.Join(err, d.kill())
	}
	nc, err := nats.Connect(d.info.Bus, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox), nats.NoReconnect())
	if err != nil {
		return nil, errors.Join(err, d.kill())
	}
	return &remembering{d, bus.NewConn(nc, bus.Options{Name: "cli", Logger: slog.New(slog.DiscardHandler),
		Says: []bus.Lane{bus.RecallSearch, bus.RecallImport, bus.RecallGet}})}, nil
}

func (d *remembering) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return errors.Join(d.conn.Drain(ctx), d.stop())
}

// learn gives the daemon facts.
func (d *remembering) learn(ctx context.Context, facts []string) error {
	now, n := time.Now().UTC(), 0
	for batch := range slices.Chunk(facts, bus.RecallMaxBatch) {
		var b bus.RecallBatch
		for _, text := range batch {
			b.Entries = append(b.Entries, bus.RecallEntry{ID: fmt.Sprint("fact-", n), Owner: known, Text: text, Source: bus.RecallModel, Importance: 0.5, At: now})
			n++
		}
		if _, err := bus.RecallImport.Ask(ctx, d.conn, b); err != nil {
			return fmt.Errorf("import facts: %w", err)
		}
	}
	return nil
}

// embedded waits until all of so many facts have their vectors.
func (d *remembering) embedded(ctx context.Context, facts int) error {
	_, err := d.until(ctx, "all facts have vectors", func(st bus.RecallStatus) bool {
		return st.Entries == int64(facts) && st.Pending == 0 && st.Embedder != ""
	})
	return err
}

// ready waits until all facts have their vectors, and searches until those are in memory and an answer has to do with them.
func (d *remembering) ready(ctx context.Context, facts []string) error {
	if err := d.embedded(ctx, len(facts)); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := d.search(ctx, facts, 0, 1); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// until waits for a state of recall, and says how long that took, to two milliseconds.
func (d *remembering) until(ctx context.Context, what string, good func(bus.RecallStatus) bool) (time.Duration, error) {
	began := time.Now()
	for {
		st, err := bus.RecallGet.Ask(ctx, d.conn, bus.RecallStatusQuery{})
		switch {
		case err != nil:
			return 0, fmt.Errorf("wait until %s: %w", what, err)
		case good(st):
			return time.Since(began), nil
		case st.Problem != "" || time.Since(began) > recallDue:
			return 0, fmt.Errorf("wait until %s: %+v", what, st)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// search asks questions, different ones for each first, and returns what each took. By words alone is no answer.
func (d *remembering) search(ctx context.Context, facts []string, first, questions int) (took []float64, err error) {
	for i := range questions {
		began := time.Now()
		found, err := bus.RecallSearch.Ask(ctx, d.conn, bus.RecallQuery{Owner: known, Text: recalltest.Question(facts, first+i), Limit: 12, MaxBytes: 2400})
		if err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
		if len(found.Hits) == 0 || found.Embedder == "" {
			return nil, fmt.Errorf("search %d found %d facts, with the vectors of %q", i, len(found.Hits), found.Embedder)
		}
		took = append(took, ms(time.Since(began)))
	}
	return took, nil
}

// metric adds up the series with a name that have a label, or any.
func (d *daemon) metric(name, label string) (sum float64, err error) {
	res, err := http.Get(d.info.Gateway + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	seen := false
	for line := range strings.Lines(string(text)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		of, labels, _ := strings.Cut(series, "{")
		if !ok || of != name || !strings.Contains(labels, label) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		sum, seen = sum+v, true
	}
	if !seen {
		return 0, fmt.Errorf("the daemon has no metric %s{%s}", name, label)
	}
	return sum, nil
}

// settled is a process's memory, the medians of some readings.
func settled(pid int) (memory, error) {
	var all, own []float64
	for range 5 {
		m, err := memoryOf(pid)
		if err != nil {
			return memory{}, err
		}
		all, own = append(all, float64(m.rss)), append(own, float64(m.anonymous))
		time.Sleep(50 * time.Millisecond)
	}
	return memory{int64(median(all)), int64(median(own))}, nil
}

// one adds a row of a single number that nothing bars.
func (r *run) one(what, unit string, value float64) {
	r.report.add(r.box, what, unit, "for comparison", 0, []float64{value}, median)
}

func p95(v []float64) float64 { return quantile(v, 0.95) }
