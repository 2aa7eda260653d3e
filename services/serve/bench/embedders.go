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
// model, and one with each form of it.
func (r *run) embedderMemory() (err error) {
	forms := []string{"", float32s, int8s}
	facts := recalltest.Facts(r.sizes.facts)
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
		if err := d.learn(r.ctx, facts[:r.sizes.few]); err != nil {
			return fmt.Errorf("%s: %w", form, err)
		}
		if _, err := d.search(r.ctx, facts[:r.sizes.few], 0, r.sizes.few); err != nil {
			return fmt.Errorf("%s: %w", form, err)
		}
	}
	time.Sleep(r.idle)
	seen := map[string]memory{}
	for form, d := range house {
		if seen[form], err = settled(d.info.PID); err != nil {
			return err
		}
	}
	for _, form := range forms[1:] {
		r.reportEmbedder(form, seen[form], seen[""])
	}
	return nil
}

func (r *run) reportEmbedder(form string, with, without memory) {
	more := func(a, b int64) []float64 { return []float64{float64(a-b) / mb} }
	what := fmt.Sprintf("sentence model of %d MB, %s: RSS of a daemon with it, beyond one without, after searches and %s", r.modelSize(form), form, r.idle)
	rss, own := 60.0, 8.0
	r.report.add(r.box, what, "MB", "≤ 60", rss, more(with.rss, without.rss), median)
	r.report.add(r.box, "the same, anonymous", "MB", "≤ 8", own, more(with.anonymous, without.anonymous), median)
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
	took := map[string][]float64{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("time embedders: %w", err)
		}
		took[name] = append(took[name], v)
	}
	whole, small, none := took[float32s], took[int8s], took["static"]
	if len(whole) == 0 || len(small) != len(whole) || len(none) == 0 {
		return fmt.Errorf("the embedders were not timed: %s", out)
	}
	ratios, sentence := make([]float64, len(whole)), make([]float64, len(none))
	for i := range whole {
		ratios[i] = small[i] / whole[i]
	}
	for i := range none {
		sentence[i] = 1000 * none[i]
	}
	r.report.add(r.box, "sentence model, fp32: a text of 16 tokens, p50", "ms", "≤ 120", 120, whole, median)
	r.report.add(r.box, "sentence model, int8: the same, p50", "ms", "≤ 120", 120, small, median)
	r.report.add(r.box, "int8 ÷ fp32, in turns, p50", "×", "≤ 0.9", 0.9, ratios, median)
	r.report.add(r.box, "embedder without a model: a sentence, p50", "µs", "≤ 100", 100, sentence, median)
	return nil
}

// modelSize is how large a model's file is, in MB.
func (r *run) modelSize(form string) int64 {
	info, err := os.Stat(filepath.Join(r.models[form], "model.onnx"))
	if err != nil {
		return 0
	}
	return info.Size() / mb
}
