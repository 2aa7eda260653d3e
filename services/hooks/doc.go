// SPDX-License-Identifier: MIT OR Apache-2.0

// Package hooks runs the owner's own programs at moments of the daemon's life, and is
// the room that hears alerts for them.
//
//	[hooks]
//	pre_start = ["/etc/blufio/hooks/mount-data"]
//	on_alert  = ["/etc/blufio/hooks/mail-me", "me@example.org"]
//
// # What a hook gets
//
// It is run without a shell, in the data directory, as the daemon's user, with PATH,
// HOME and LANG and these variables; nothing of the daemon's own environment reaches it:
//
//	BLUFIO_HOOK           its name, as pre-start
//	BLUFIO_NODE           the daemon's name
//	BLUFIO_DATA_DIR       the data directory
//	BLUFIO_VERSION        of the daemon
//	BLUFIO_PID            of the daemon
//	BLUFIO_GATEWAY        post-start: where the gateway listens, http://…
//	BLUFIO_ERROR          post-stop: why the daemon ended; empty after a clean stop. post-backup: why there is no backup
//	BLUFIO_BACKUP_ID      pre-backup, post-backup
//	BLUFIO_BACKUP_PATH    post-backup: the file; empty when it was streamed to the command line
//	BLUFIO_BACKUP_BYTES   post-backup
//	BLUFIO_ALERT          on-alert: the event's name, as budget.exhausted
//	BLUFIO_ALERT_COUNT    on-alert: how many there were since the hook last ran for that name
//
// On-alert reads the event as JSON on its standard input (see bus/EVENTS.md). What a
// hook says is logged, at most 64 KiB of it.
//
// # When it fails
//
// A hook that exits with 0 is content. What any other exit code means, or a hook that
// is not there or takes longer than hooks.timeout and is killed, depends on the moment:
//
//	pre-start     the daemon does not start
//	pre-backup    the backup is not made, and has failed
//	the others    is logged, counted, and a problem of the room until it succeeds again
//
// Pre-stop and post-stop have hooks.stop_timeout each, and the whole stop has to fit in
// what the supervisor allows: systemd's TimeoutStopSec, Docker's ten seconds.
//
// # Alerts
//
// They are the events that the contract lets this room hear. One program runs at a
// time, and for one name at most once a minute: what comes meanwhile is counted, and the
// latest is told when the minute is over. Since names are a closed set, so is what waits.
package hooks
