// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// memory is a process's, in bytes.
type memory struct{ rss, anonymous int64 }

func memoryOf(pid int) (m memory, err error) {
	var err1, err2 error
	m.rss, err1 = rss(pid)
	m.anonymous, err2 = anonymous(pid)
	return m, errors.Join(err1, err2)
}

// idleMemory reads RSS after a while of nothing: of a daemon with everything on,
// of one as it is installed, and of the bare program, side by side.
func (r *run) idleMemory() (err error) {
	out, err := r.newOutside("anthropic")
	if err != nil {
		return err
	}
	defer out.close()
	full, err := r.startFresh("idle", out.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, full.stop()) }()
	plain, err := r.startFresh("idle", r.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.stop()) }()
	bareDir, err := r.dir("bare")
	if err != nil {
		return err
	}
	args := r.box.wrap(r.bare, bareDir)
	bare := exec.Command(args[0], args[1:]...)
	if err := bare.Start(); err != nil {
		return err
	}
	time.Sleep(r.idle)
	ours, err1 := memoryOf(full.info.PID)
	theirs, err2 := memoryOf(bare.Process.Pid)
	installed, err3 := memoryOf(plain.info.PID)
	err4 := bare.Process.Signal(syscall.SIGTERM)
	_ = bare.Wait() // it ends by a signal
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	if !out.polled() {
		return errors.New("the daemon did not ask Telegram for anything: not everything is on")
	}
	r.reportIdle(ours, installed, theirs)
	return nil
}

func (r *run) reportIdle(ours, installed, bare memory) {
	size := func(bytes int64) []float64 { return []float64{float64(bytes) / mb} }
	ratio := func(m memory) []float64 { return []float64{float64(m.rss) / float64(bare.rss)} }
	r.report.add(r.box, fmt.Sprintf("idle RSS with everything on, %s after ready", r.idle), "MB", "≤ 40", 40, size(ours.rss), median)
	r.report.add(r.box, "the same ÷ a bare program with the same parts, but no clients", "×", "≤ 1.3", 1.3, ratio(ours), median)
	r.report.add(r.box, fmt.Sprintf("of the idle RSS, anonymous (the bare program's: %.1f MB)", float64(bare.anonymous)/mb), "MB", "for comparison", 0, size(ours.anonymous), median)
	r.report.add(r.box, "idle RSS as installed, without Telegram and a model", "MB", "≤ 40", 40, size(installed.rss), median)
	r.report.add(r.box, "the same ÷ a bare program with the same parts", "×", "≤ 1.3", 1.3, ratio(installed), median)
}
