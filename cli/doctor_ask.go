// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/serve"
)

// exitWarnings is doctor's alone.
const exitWarnings = 2

// doctorDial is how long the daemon has to take the call: with the other quick checks that
// is two seconds.
const doctorDial = 1500 * time.Millisecond

// doctorBusy is how long to try for a place among the daemon's jobs.
const doctorBusy = 5 * time.Second

// reached is how the daemon was found, or not.
type reached struct {
	conn   *bus.Conn // nil: it makes no checks
	info   serve.Info
	locked bool // one runs, whether it answers or not
	denied bool // this user may not look
	member bool // this user may ask the daemon, and not look into its directory
	why    bus.Finding
}

func (r reached) mode() string {
	if r.conn != nil {
		return bus.DoctorLive
	}
	return bus.DoctorOffline
}

func (r reached) exitCode(result string) int {
	switch {
	case r.denied:
		return exitDenied
	case result == bus.LevelFail:
		return exitFailed
	case result == bus.LevelWarn:
		return exitWarnings
	}
	return exitOK
}

// reach dials the daemon. Whatever keeps it from that is a finding.
func (a *app) reach(ctx context.Context, dir string, c checkup) (r reached) {
	began := time.Now()
	conn, err := a.dialWithin(doctorDial, bus.DoctorRun, bus.JobGet)
	r.locked, _ = a.running(dir) // what cannot be read is told by err
	d, infoErr := a.findDaemon()
	info := d.Info
	r.member = d.key != ""
	if r.locked && infoErr == nil {
		r.info = info
	}
	if err == nil {
		r.conn = conn
		r.why = serve.Finding(reachID, bus.LevelOK, fmt.Sprintf("blufio %s, process %d", info.Version, info.PID), "")
	} else {
		r.why, r.denied = unreached(dir, err, r.locked, infoErr == nil)
	}
	r.why.DurationMS = time.Since(began).Milliseconds()
	return r
}

// unreached words why the daemon makes no checks.
func unreached(dir string, err error, locked, told bool) (bus.Finding, bool) {
	f := explain(err)
	var key *embedded.KeyError
	switch {
	case errors.As(err, &key) && !errors.Is(err, fs.ErrPermission) && locked:
		return serve.Finding(reachID, bus.LevelSkip, "a daemon runs, and was not asked: the files that lead to it are not as they should be", ""), false
	case errors.As(err, &key) && !errors.Is(err, fs.ErrPermission):
		return serve.Finding(reachID, bus.LevelWarn, "blufio is not running on "+dir, ""), false
	case f.code == exitDenied:
		return serve.Finding(reachID, bus.LevelFail, f.Error(), f.hint), true
	case f.code == exitNotRunning && locked && !told:
		return serve.Finding(reachID, bus.LevelFail, "the daemon on "+dir+" is starting or stopping", "try again in a moment; if this stays so, see its log and restart it"), false
	case f.code == exitNotRunning:
		return serve.Finding(reachID, bus.LevelWarn, f.Error(), f.hint), false
	}
	return serve.Finding(reachID, bus.LevelFail, f.Error(), f.hint), false
}

// askDoctor has the daemon make its checks, and tells their findings.
func (a *app) askDoctor(ctx context.Context, c checkup, r *reached, found func(bus.Finding)) {
	if r.conn != nil {
		if err := follow(ctx, c, askerOn(r.conn), found); err != nil && ctx.Err() == nil {
			f := explain(err)
			hint := f.hint
			if bus.Nobody(err) {
				hint = "it may be of another version: restart it"
			}
			r.why = serve.Finding(reachID, bus.LevelFail, "the daemon did not make its checks: "+f.Error(), hint)
		}
	}
	if c.wants(reachID) {
		found(r.why)
	}
}

// asker puts the doctor's questions to a daemon.
type asker struct {
	run  func(context.Context, bus.DoctorRequest) (bus.Job, error)
	news func(context.Context, bus.JobQuery) (bus.JobState, error)
}

func askerOn(conn *bus.Conn) asker {
	return asker{
		run: func(ctx context.Context, r bus.DoctorRequest) (bus.Job, error) {
			return bus.DoctorRun.Ask(ctx, conn, r)
		},
		news: func(ctx context.Context, q bus.JobQuery) (bus.JobState, error) { return bus.JobGet.Ask(ctx, conn, q) },
	}
}

// follow has a daemon make its checks, and tells their findings as they come.
func follow(ctx context.Context, c checkup, daemon asker, found func(bus.Finding)) error {
	job, err := daemon.start(ctx, bus.DoctorRequest{Deep: c.deep, Only: c.only, Skip: c.skip, TimeoutMS: c.timeout.Milliseconds()})
	if err != nil {
		return err
	}
	for heard := 0; ; {
		state, err := daemon.news(ctx, bus.JobQuery{ID: job.ID, After: heard})
		if err != nil {
			return err
		}
		for _, n := range state.News {
			var f bus.Finding
			if err := json.Unmarshal(n, &f); err != nil {
				return fmt.Errorf("read finding: %w", err)
			}
			found(f)
		}
		heard += len(state.News)
		switch {
		case state.Done && state.Error != nil:
			return &bus.Error{Code: state.Error.Code, Message: state.Error.Message, Hint: state.Error.Hint}
		case state.Done:
			return nil
		}
	}
}

// start waits for a place if others are being examined.
func (d asker) start(ctx context.Context, r bus.DoctorRequest) (bus.Job, error) {
	trying, cancel := context.WithTimeout(ctx, doctorBusy)
	defer cancel()
	for {
		job, err := d.run(ctx, r)
		if bus.CodeOf(err) != bus.CodeBusy || !pause(trying, healthEvery) {
			return job, err
		}
	}
}
