// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/recall/recalltest"
)

// shedding fills a daemon's caches, the index of vectors, the model's weights, vectors of questions, summaries of
// conversations and the database's, has the governor shed them, and sees that searches work afterwards.
func (r *run) shedding() (err error) {
	facts := recalltest.Facts(r.sizes.facts)
	models, err := fakellm.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer models.Close()
	models.OpenAI.Keep(kept)
	models.OpenAI.Always(fakellm.Says(strings.SplitAfter(strings.Repeat("so it was and so it is and so it goes on ", summaryBytes/42), " ")...))
	dir, err := r.modelled(facts)
	if err != nil {
		return err
	}
	config, err := r.pressed(models, restWarn)
	if err != nil {
		return err
	}
	d, err := r.remember(dir, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.end(r.ctx)) }()
	if err := r.fillCaches(d, facts); err != nil {
		return err
	}
	time.Sleep(r.idle) // what a burst leaves is given back in a pause, the database's caches among it: here it is the others' turn
	before, err := settled(d.info.PID)
	if err != nil {
		return err
	}
	freed, err := r.shed(d, models)
	if err != nil {
		return err
	}
	after, err := settled(d.info.PID)
	if err != nil {
		return err
	}
	r.reportShedding(before, after, freed)
	return r.refill(d, facts)
}

const (
	restWarn     = 80   // percent, as installed
	leastWarn    = 10   // which every daemon is above
	summaryBytes = 2000 // of a summary, about
	talkBytes    = 4000 // of a message, lower-case words without a number: nothing of it has to be in a summary
	budget       = 2500 // tokens of a conversation: two such messages and their answers are more
)

// modelled is a data directory whose facts have vectors in the model's name.
func (r *run) modelled(facts []string) (dir string, err error) {
	config, err := r.modelConfig(float32s, "")
	if err != nil {
		return "", err
	}
	empty, err := r.dir("embedder")
	if err != nil {
		return "", err
	}
	d, err := r.remember(empty, config)
	if err != nil {
		return "", err
	}
	name := ""
	_, err = d.until(r.ctx, "the model is open", func(st bus.RecallStatus) bool { name = st.Embedder; return st.Kind == bus.RecallLocal })
	if err := errors.Join(err, d.end(r.ctx)); err != nil {
		return "", err
	}
	return r.learned(facts, name)
}

// pressed writes the configuration, with the percentage at which the governor sheds. Turns look nothing up, for the
// searches are asked directly.
func (r *run) pressed(models *fakellm.Vendors, warn int) (path string, err error) {
	return r.modelConfig(float32s, fmt.Sprintf(`[agent]
provider = "openai"
history_tokens = %d
recall_tokens = 0
compact_monthly_usd = 1000
[openai]
base_url = %q
[cost]
daily_usd = 0
monthly_usd = 0
[memory]
warn_percent = %d
`, budget, models.OpenAI.URL(), warn))
}

// fillCaches talks until there are summaries, and searches.
func (r *run) fillCaches(d *remembering, facts []string) error {
	token, err := r.token(d.daemon)
	if err != nil {
		return err
	}
	client := &http.Client{}
	defer client.CloseIdleConnections()
	text := strings.Repeat("tell me more of that and of this as well ", talkBytes/42)
	for range 3 {
		for s := range r.sizes.talks {
			if err := post(r.ctx, client, d.daemon, token, fmt.Sprint("talk-", s), text); err != nil {
				return err
			}
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		n, err := d.metric("blufio_summaries_bytes", "")
		if err != nil {
			return err
		}
		if n >= float64(r.sizes.talks*summaryBytes)*0.9 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after a minute there are %v bytes of summaries", n)
		}
	}
	if err := d.ready(r.ctx, facts); err != nil {
		return err
	}
	_, err = d.search(r.ctx, facts, 0, r.sizes.searches)
	return err
}

// shed has the governor shed, by a threshold that memory is above, and returns the bytes that each of its own says to
// have freed; of the database's caches, since the daemon's start.
func (r *run) shed(d *remembering, models *fakellm.Vendors) (freed map[string]float64, err error) {
	const counter = "blufio_memory_shed_bytes_total"
	freed = map[string]float64{}
	count := func(sign float64, rooms ...string) error {
		for _, room := range rooms {
			n, err := d.metric(counter, fmt.Sprintf("room=%q", room))
			if err != nil {
				return err
			}
			freed[room] += sign * n
		}
		return nil
	}
	if err := count(-1, "recall", "agent"); err != nil { // all of the database's since the start: most of it went in the pause
		return nil, err
	}
	info, err := os.Stat(d.log.Name())
	if err != nil {
		return nil, err
	}
	if err := r.threshold(d, models, leastWarn); err != nil {
		return nil, err
	}
	if err := d.says("memory shed", info.Size()); err != nil {
		return nil, err
	}
	return freed, errors.Join(count(1, "recall", "agent", "database"), r.threshold(d, models, restWarn))
}

// threshold changes the percentage while the daemon runs.
func (r *run) threshold(d *remembering, models *fakellm.Vendors, warn int) error {
	if _, err := r.pressed(models, warn); err != nil {
		return err
	}
	return syscall.Kill(d.info.PID, syscall.SIGHUP)
}

// says waits for words in the daemon's log, behind a place in it.
func (d *daemon) says(words string, from int64) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		log, err := os.ReadFile(d.log.Name())
		if err != nil {
			return err
		}
		if bytes.Contains(log[from:], []byte(words)) {
			return nil
		}
	}
	return fmt.Errorf("the daemon does not log %q within 30 s; see %s", words, d.log.Name())
}

func (r *run) reportShedding(before, after memory, freed map[string]float64) {
	r.one(fmt.Sprintf("shedding: RSS with %d facts, a sentence model fp32 and full caches", r.sizes.facts), "MB", float64(before.rss)/mb)
	r.one("shedding: RSS after the governor had them shed", "MB", float64(after.rss)/mb)
	r.one("shedding: anonymous before", "MB", float64(before.anonymous)/mb)
	r.one("shedding: anonymous after", "MB", float64(after.anonymous)/mb)
	r.one("shedding: freed, as recall says", "MB", freed["recall"]/mb)
	r.one("shedding: freed, as the agent says", "MB", freed["agent"]/mb)
	r.one("shedding: freed of the database's caches, in the pauses before it and then", "MB", freed["database"]/mb)
}

// refill searches again. The first question waits for the vectors a moment, and is else answered by words alone.
func (r *run) refill(d *remembering, facts []string) error {
	began := time.Now()
	found, err := bus.RecallSearch.Ask(r.ctx, d.conn, bus.RecallQuery{Owner: known, Text: recalltest.Question(facts, r.sizes.searches)})
	if err != nil {
		return fmt.Errorf("search after shedding: %w", err)
	}
	first := time.Since(began)
	if len(found.Hits) == 0 {
		return errors.New("after shedding a search finds nothing")
	}
	if _, err := d.until(r.ctx, "all vectors are in memory", func(st bus.RecallStatus) bool { return st.Indexed == int64(len(facts)) }); err != nil {
		return err
	}
	full := time.Since(began)
	if err := d.ready(r.ctx, facts); err != nil {
		return err
	}
	took, err := d.search(r.ctx, facts, r.sizes.searches+1, max(r.sizes.searches/10, 1))
	if err != nil {
		return err
	}
	again, err := settled(d.info.PID)
	if err != nil {
		return err
	}
	by := "words and vectors"
	if found.Embedder == "" {
		by = "words alone"
	}
	r.one(fmt.Sprintf("shedding: first search after it, answered by %s", by), "ms", ms(first))
	r.one("shedding: from there until all vectors are in memory again", "ms", ms(full))
	r.report.add(r.box, "shedding: searches from then on, p50", "ms", "for comparison", 0, took, median)
	r.one(fmt.Sprintf("shedding: RSS after %d of them", len(took)), "MB", float64(again.rss)/mb)
	return nil
}
