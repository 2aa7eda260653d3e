// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite"
)

const mb = 1e6

func (r *run) size() error {
	info, err := os.Stat(r.binary)
	if err != nil {
		return err
	}
	r.report.add(r.box, "stripped static binary", "MB", "≤ 35", 35, []float64{float64(info.Size()) / mb}, median)
	return nil
}

// startup measures exec → /health 200 on three kinds of data directory.
func (r *run) startup() error {
	const times = 15
	var empty, used, killed []float64
	for range times {
		dir, err := r.dir("empty")
		if err != nil {
			return err
		}
		d, err := r.start(dir)
		if err != nil {
			return err
		}
		empty = append(empty, ms(d.ready))
		if err := d.stop(); err != nil {
			return err
		}
	}
	dir, err := r.fullStream()
	if err != nil {
		return err
	}
	for range times {
		d, err := r.start(dir)
		if err != nil {
			return err
		}
		used = append(used, ms(d.ready))
		if err := d.stop(); err != nil {
			return err
		}
	}
	for range times {
		d, err := r.start(dir)
		if err != nil {
			return err
		}
		time.Sleep(time.Second) // let the stream open and be written to, then cut it off
		if err := d.kill(); err != nil {
			return err
		}
		if d, err = r.start(dir); err != nil {
			return err
		}
		killed = append(killed, ms(d.ready))
		if err := d.kill(); err != nil {
			return err
		}
	}
	r.report.add(r.box, "exec → /health 200, empty data directory", "ms", "≤ 250", 250, empty, median)
	r.report.add(r.box, "exec → /health 200, used data directory", "ms", "≤ 100", 100, used, median)
	r.report.add(r.box, "exec → /health 200, after kill -9 with a full event stream", "ms", "≤ 150", 150, killed, median)
	return nil
}

// fullTurns fill the event stream to its default bound: a turn leaves
// four events of some 400 bytes.
const fullTurns = 50_000

// fullStream makes a used data directory whose event stream has reached its bound.
func (r *run) fullStream() (string, error) {
	dir, err := r.dir("full")
	if err != nil {
		return "", err
	}
	d, err := r.start(dir)
	if err != nil {
		return "", err
	}
	token, err := r.token(d)
	if err != nil {
		return "", err
	}
	if _, err := r.load(d, token, 50, fullTurns); err != nil {
		return "", err
	}
	return dir, errors.Join(r.quiet(d), d.stop())
}

// turnsAndMemory measures latency alone, throughput, processor time, and what
// memory stays behind.
func (r *run) turnsAndMemory() error {
	dir, err := r.dir("turns")
	if err != nil {
		return err
	}
	d, err := r.start(dir)
	if err != nil {
		return err
	}
	token, err := r.token(d)
	if err != nil {
		return err
	}
	commits, err := oneRowCommits(filepath.Join(r.tmp, "yardstick.db"))
	if err != nil {
		return err
	}
	alone, err := r.load(d, token, 1, 1000)
	if err != nil {
		return err
	}
	bar := 4*median(commits) + 2
	r.report.add(r.box, "one-row FULL commit, same disk, p50", "ms", "yardstick", 0, commits, median)
	r.report.add(r.box, "own share of a turn through the gateway, p50", "ms", fmt.Sprintf("≤ 4 × commit + 2 = %.2f", bar), bar, alone.ms, median)
	r.report.add(r.box, "own share of a turn through the gateway, p99", "ms", "≤ 40", 40, alone.ms, p99)

	before, err := cpu(d.info.PID)
	if err != nil {
		return err
	}
	first, err := r.load(d, token, 50, r.turns/2)
	if err != nil {
		return err
	}
	half, err := r.quietMemory(d)
	if err != nil {
		return err
	}
	second, err := r.load(d, token, 50, r.turns/2)
	if err != nil {
		return err
	}
	after, err := cpu(d.info.PID)
	if err != nil {
		return err
	}
	end, err := r.quietMemory(d)
	if err != nil {
		return err
	}
	perTurn := ms(after-before) / float64(r.turns)
	rates := []float64{first.perSecond, second.perSecond}
	r.report.add(r.box, "durable turns over 50 sessions", "turns/s", "≥ 300", -300, rates, median)
	r.report.add(r.box, "CPU per turn", "ms", "≤ 4", 4, []float64{perTurn}, median)
	r.report.add(r.box, fmt.Sprintf("RSS after %d turns in 50 sessions, median of %d", r.turns, len(end)), "MB", "≤ 64", 64, end, median)
	r.report.add(r.box, fmt.Sprintf("of that, added by the last %d turns", r.turns/2), "MB", "≤ 1", 1, []float64{median(end) - median(half)}, median)
	return d.stop()
}

// quietMemory takes ten samples of RSS, one a second, once nothing is under way
// and the daemon has had half a minute to give memory back.
func (r *run) quietMemory(d *daemon) ([]float64, error) {
	if err := r.quiet(d); err != nil {
		return nil, err
	}
	time.Sleep(r.idle)
	var out []float64
	for range 10 {
		n, err := rss(d.info.PID)
		if err != nil {
			return nil, err
		}
		out = append(out, float64(n)/mb)
		time.Sleep(time.Second)
	}
	return out, nil
}

// loaded is what one load gave.
type loaded struct {
	ms        []float64 // each turn
	perSecond float64
}

// load sends turns messages over so many sessions, each one after another.
func (r *run) load(d *daemon, token string, sessions, turns int) (loaded, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: sessions}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var out loaded
	var failed error
	var group sync.WaitGroup
	began := time.Now()
	for s := range sessions {
		group.Go(func() {
			for i := range turns / sessions {
				start := time.Now()
				err := post(r.ctx, client, d, token, fmt.Sprintf("bench-%d", s), fmt.Sprintf("hello %d", i))
				took := time.Since(start)
				mu.Lock()
				out.ms = append(out.ms, ms(took))
				failed = errors.Join(failed, err)
				stop := failed != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	group.Wait()
	out.perSecond = float64(len(out.ms)) / time.Since(began).Seconds()
	return out, failed
}

// oneRowCommits times the yardstick: one row, one FULL commit.
func oneRowCommits(path string) ([]float64, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT)`); err != nil {
		return nil, err
	}
	var out []float64
	text := strings.Repeat("x", 100)
	for range 500 {
		start := time.Now()
		if _, err := db.Exec(`INSERT INTO t (v) VALUES (?)`, text); err != nil {
			return nil, err
		}
		out = append(out, ms(time.Since(start)))
	}
	return out, nil
}

// statusCommand times the whole process, from exec to exit.
func (r *run) statusCommand() error {
	dir, err := r.dir("status")
	if err != nil {
		return err
	}
	d, err := r.start(dir)
	if err != nil {
		return err
	}
	var took []float64
	for range 30 {
		args := r.box.wrap(r.binary, "status", "--data-dir", dir, "--config", r.config)
		start := time.Now()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("blufio status: %w: %s", err, out)
		}
		took = append(took, ms(time.Since(start)))
	}
	r.report.add(r.box, "blufio status, whole process", "ms", "≤ 60", 60, took, median)
	return d.stop()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
