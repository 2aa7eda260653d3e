// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus"
)

// meters show how the backups stand, when they are scraped.
type meters struct {
	s        *Service
	failures *prometheus.CounterVec
}

var (
	successDesc  = desc("last_success_timestamp_seconds", "When the last backup was made, by the schedule or on demand; 0 without one.")
	verifiedDesc = desc("last_verified_timestamp_seconds", "When a backup was last read again and found good; 0 without one.")
	drilledDesc  = desc("last_drilled_timestamp_seconds", "When a second daemon was last started on a backup and worked; 0 without one.")
	sizeDesc     = desc("size_bytes", "Size of the last backup; 0 without one.")
	durationDesc = desc("duration_seconds", "Time that the last backup took; 0 without one.")
	everyDesc    = desc("every_seconds", "Time between two backups of the schedule; 0 without one.")
	dueDesc      = desc("due_timestamp_seconds", "When the schedule's next backup is due; 0 without a schedule.")
	rowDesc      = desc("failed_in_a_row", "Failures of the schedule since its last success.")
	spoiledDesc  = prometheus.NewDesc("blufio_backup_spoiled", "1 while what follows a backup has failed for the last one: the command that sends it away, or the drill.", []string{"stage"}, nil)
	runningDesc  = desc("running", "Backups that are being made.")
	runningMost  = desc("running_limit", "Bound of blufio_backup_running, fixed: others are told busy.")
	filesDesc    = desc("files", "Backups of this daemon in the schedule's directory, when the schedule last looked.")
	keptDirs     = desc("replaced", "Directories of files that restores have replaced (pre-restore-…), when last looked at.")
	keptMost     = desc("replaced_limit", "Bound of blufio_backup_replaced, backup.keep_replaced: others are deleted once they are a week old.")
	keptBytes    = desc("replaced_bytes", "Bytes in what restores have replaced, when last looked at.")
	filesMost    = desc("files_limit", "Bound of blufio_backup_files, backup.keep_daily: with keep_weekly, keep_monthly, the newest and the one verified last; others are deleted after a backup.")
)

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("blufio_backup_"+name, help, nil, nil)
}

func (m *meters) init(s *Service) {
	m.s = s
	m.failures = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_backup_failures_total",
		Help: "Backups that failed, or what follows one, by the stage in which."}, []string{"stage"})
	for _, stage := range []string{bus.BackupCopy, bus.BackupCheck, bus.BackupWrite, bus.BackupVerify, bus.BackupAfter, bus.BackupDrill} {
		m.failures.WithLabelValues(stage)
	}
}

func (m *meters) failed(stage string) { m.failures.WithLabelValues(stage).Inc() }

func (m *meters) all() []prometheus.Collector { return []prometheus.Collector{m.failures, gauges{m.s}} }

// gauges are read when they are scraped.
type gauges struct{ s *Service }

// Describe implements prometheus.Collector.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{successDesc, verifiedDesc, drilledDesc, sizeDesc, durationDesc, everyDesc, dueDesc, rowDesc, spoiledDesc, runningDesc, runningMost, filesDesc, filesMost, keptDirs, keptMost, keptBytes} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	when := func(d *prometheus.Desc, t *time.Time) {
		if t == nil || t.IsZero() {
			gauge(d, 0)
			return
		}
		gauge(d, float64(t.UnixMilli())/1000)
	}
	st := g.s.summary()
	gauge(everyDesc, float64(st.Every))
	when(dueDesc, st.NextDue)
	gauge(rowDesc, float64(st.Failures))
	run, verified, drilled := orZero(st.LastSuccess), orZero(st.LastVerified), orZero(st.LastDrilled)
	when(successDesc, &run.Time)
	gauge(sizeDesc, float64(run.Bytes))
	gauge(durationDesc, run.Seconds)
	when(verifiedDesc, &verified.Time)
	when(drilledDesc, &drilled.Time)
	gauge(runningDesc, truth(st.Running != nil))
	gauge(runningMost, 1)
	g.s.mu.Lock()
	files, unsent, undrilled := g.s.files, g.s.unsent(), g.s.undrilled()
	g.s.mu.Unlock()
	gauge(spoiledDesc, truth(unsent), bus.BackupAfter)
	gauge(spoiledDesc, truth(undrilled), bus.BackupDrill)
	gauge(filesDesc, float64(files))
	gauge(keptDirs, float64(st.Replaced.Dirs))
	gauge(keptMost, float64(g.s.cfg.KeepReplaced))
	gauge(keptBytes, float64(st.Replaced.Bytes))
	gauge(filesMost, float64(g.s.cfg.KeepDaily+g.s.cfg.KeepWeekly+g.s.cfg.KeepMonthly+2))
}

// orZero is what p points to, or nothing.
func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
