// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/blufio/blufio/services/recall/recalltest"
)

// embedders measures what a sentence model takes of memory and time, and the embedder without one.
func (r *run) embedders() error {
	if err := r.embedderMemory(); err != nil {
		return err
	}
	return r.embedderTime()
}

// embedderMemory compares daemons side by side that have the same facts and heard the same questions: one without a
// model, and one with each form of it. Pages of the program's file, which every one of them gives up in a pause at another
// time, are left out of each.
func (r *run) embedderMemory() (err error) {
	forms := []string{"", float32s, int8s}
	facts := recalltest.Facts(r.sizes.few)
	house := map[string]*remembering{}
	for _, form := range forms {
		config, err1 := r.modelConfig(form, "")
		dir, err2 := r.dir("embedder")
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		d, err := r.remember(dir, config)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.end(r.ctx)) }()
		house[form] = d
	}
	for _, form := range forms {
		d := house[form]
		if err := d.learn(r.ctx, facts); err != nil {
			return err
		}
		if err := d.ready(r.ctx, facts); err != nil {
			return err
		}
		if _, err := d.search(r.ctx, facts, 0, len(facts)); err != nil {
			return err
		}
	}
	time.Sleep(r.idle)
	seen := map[string]memory{}
	for form, d := range house {
		m, err1 := settled(d.info.PID)
		code, err2 := programMemory(d.info.PID)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		seen[form] = memory{m.rss - code, m.anonymous}
	}
	for _, form := range forms[1:] {
		r.reportEmbedder(form, seen[form], seen[""])
	}
	return nil
}

func (r *run) reportEmbedder(form string, with, without memory) {
	more := func(a, b int64) []float64 { return []float64{float64(a-b) / mb} }
	what := fmt.Sprintf("sentence model, %s, %d MB: RSS of a daemon with it beyond one without, but for the program's pages, %s after searches", form, r.modelSize(form), r.idle)
	r.report.add(r.box, what, "MB", "≤ 60", 60, more(with.rss, without.rss), median)
	r.report.add(r.box, fmt.Sprintf("sentence model, %s: of that, anonymous", form), "MB", "≤ 8", 8, more(with.anonymous, without.anonymous), median)
}

// embedderTime times them in a process of their own.
func (r *run) embedderTime() error {
	args := []string{r.embeds, strconv.Itoa(r.sizes.rounds)}
	for _, form := range []string{float32s, int8s} {
		dir, err := r.model(form)
		if err != nil {
			return err
		}
		args = append(args, form+"="+dir)
	}
	args = r.box.wrap(args...)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("time embedders: %w: %s", err, out)
	}
	took, used := map[string][]float64{}, map[string][]float64{}
	for line := range strings.Lines(string(out)) {
		var name string
		var clock, processor float64
		if _, err := fmt.Sscan(line, &name, &clock, &processor); err != nil {
			return fmt.Errorf("time embedders: %q: %w", line, err)
		}
		took[name], used[name] = append(took[name], clock), append(used[name], processor)
	}
	for _, name := range []string{float32s, int8s, "static"} {
		if len(took[name]) != r.sizes.rounds {
			return fmt.Errorf("the embedders were not timed: %s", out)
		}
	}
	r.reportEmbedderTime(took, used)
	return nil
}

func (r *run) reportEmbedderTime(took, used map[string][]float64) {
	ratios, sentence := make([]float64, r.sizes.rounds), make([]float64, r.sizes.rounds)
	for i := range ratios {
		ratios[i] = used[int8s][i] / used[float32s][i]
		sentence[i] = 1000 * took["static"][i]
	}
	for _, form := range []string{float32s, int8s} {
		what := fmt.Sprintf("sentence model, %s: a text of 16 tokens, p50", form)
		r.report.add(r.box, what, "ms", "≤ 120", 120, took[form], median)
		r.report.add(r.box, what+", of the processor", "ms", "for comparison", 0, used[form], median)
	}
	r.report.add(r.box, "int8 ÷ fp32, the processor's time, in turns, p50", "×", "≤ 0.9", 0.9, ratios, median)
	r.report.add(r.box, "embedder without a model: a sentence, p50", "µs", "≤ 100", 100, sentence, median)
}

// modelSize is how large a model's file is, in MB.
func (r *run) modelSize(form string) int64 {
	info, err := os.Stat(filepath.Join(r.models[form], "model.onnx"))
	if err != nil {
		return 0
	}
	return info.Size() / mb
}
