// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/blufio/blufio/services/recall/embed/static"
	"github.com/blufio/blufio/services/recall/recalltest"
)

// learned is a data directory of a stopped daemon that knows the facts, with vectors in the name of an embedder. What
// they say is what the one without a model makes of them; for any other one they are as good to measure with, and at once
// there: in the background it would take minutes.
func (r *run) learned(facts []string, embedder string) (dir string, err error) {
	if dir, err = r.dir("facts"); err != nil {
		return "", err
	}
	d, err := r.remember(dir, r.config)
	if err != nil {
		return "", err
	}
	if err := errors.Join(d.learn(r.ctx, facts), d.end(r.ctx)); err != nil {
		return "", err
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "blufio.db"))
	if err != nil {
		return "", err
	}
	return dir, errors.Join(r.writeVectors(db, embedder), db.Close())
}

// writeVectors replaces the vectors of all facts.
func (r *run) writeVectors(db *sql.DB, embedder string) error {
	db.SetMaxOpenConns(1)
	texts := map[int64]string{}
	rows, err := db.QueryContext(r.ctx, `SELECT n, text FROM recall_entry WHERE superseded_by IS NULL`)
	if err != nil {
		return err
	}
	for rows.Next() {
		var n int64
		var text string
		if err := rows.Scan(&n, &text); err != nil {
			return errors.Join(err, rows.Close())
		}
		texts[n] = text
	}
	if err := rows.Err(); err != nil {
		return err
	}
	tx, err := db.BeginTx(r.ctx, nil)
	if err != nil {
		return err
	}
	for n, text := range texts {
		v, err := static.New().Embed(r.ctx, []string{text})
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
		var blob bytes.Buffer
		if err := binary.Write(&blob, binary.LittleEndian, v[0]); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		if _, err := tx.ExecContext(r.ctx, `INSERT OR REPLACE INTO recall_vector (n, embedder, vector) VALUES (?, ?, ?)`, n, embedder, blob.Bytes()); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// recalling measures what recall adds to a turn: of two daemons that know the same and answer at once, one looks up
// what it knows and one does not, in turns.
func (r *run) recalling() (err error) {
	facts := recalltest.Facts(r.sizes.facts)
	off := filepath.Join(r.tmp, "recall-off.toml")
	if err := os.WriteFile(off, []byte(freePorts+"[recall]\nenable = false\n"), 0o600); err != nil {
		return err
	}
	var both []talker
	for _, config := range []string{r.config, off} {
		dir, err := r.learned(facts, static.Name)
		if err != nil {
			return err
		}
		d, err := r.remember(dir, config)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.end(r.ctx)) }()
		token, err := r.token(d.daemon)
		if err != nil {
			return err
		}
		both = append(both, talker{d, token})
	}
	if err := both[0].ready(r.ctx, facts); err != nil {
		return err
	}
	var searches []float64
	used, err := both[0].spends(func() (err error) {
		searches, err = both[0].search(r.ctx, facts, 20, r.sizes.searches)
		return err
	})
	if err != nil {
		return err
	}
	with, without, err := r.talk(both, facts)
	if err != nil {
		return err
	}
	r.reportRecalling(searches, with, without, used/float64(len(searches)))
	return nil
}

// spends is how much of the processor the daemon uses meanwhile, in milliseconds: where others work too it tells more
// than the clock.
func (d *daemon) spends(work func() error) (float64, error) {
	before, err1 := cpu(d.info.PID)
	err2 := work()
	after, err3 := cpu(d.info.PID)
	return ms(after - before), errors.Join(err1, err2, err3)
}

// talker is a daemon and a token for it.
type talker struct {
	*remembering
	token string
}

// talk says the same to both, one after the other.
func (r *run) talk(both []talker, facts []string) (with, without []float64, err error) {
	const warmUp, sessions = 20, 50
	client := &http.Client{}
	defer client.CloseIdleConnections()
	took := make([][]float64, len(both))
	for i := range warmUp + r.sizes.turns {
		for k, t := range both {
			began := time.Now()
			if err := post(r.ctx, client, t.daemon, t.token, fmt.Sprint("s-", i%sessions), recalltest.Question(facts, i)); err != nil {
				return nil, nil, err
			}
			if i >= warmUp {
				took[k] = append(took[k], ms(time.Since(began)))
			}
		}
	}
	found, err := both[0].metric("blufio_context_recalls_total", `result="found"`)
	if err == nil && int(found) < r.sizes.turns {
		err = fmt.Errorf("of %d turns %v found something", warmUp+r.sizes.turns, found)
	}
	return took[0], took[1], err
}

func (r *run) reportRecalling(searches, with, without []float64, used float64) {
	added := make([]float64, len(with))
	for i := range with {
		added[i] = with[i] - without[i]
	}
	at := fmt.Sprintf("%d facts, no model: ", r.sizes.facts)
	r.report.add(r.box, at+"recall.search over the bus, p50", "ms", "≤ 5", 5, searches, median)
	r.report.add(r.box, at+"recall.search over the bus, p95", "ms", "for comparison", 0, []float64{p95(searches)}, median)
	r.one(at+"recall.search over the bus, of the processor, mean", "ms", used)
	r.report.add(r.box, at+"a turn through the gateway, p50", "ms", "for comparison", 0, with, median)
	r.report.add(r.box, "the same turn with recall.enable = false, p50", "ms", "for comparison", 0, without, median)
	r.report.add(r.box, "what recall adds to a turn: the one − the other, in turns, p50", "ms", "≤ 5", 5, added, median)
}
