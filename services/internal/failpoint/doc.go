// SPDX-License-Identifier: MIT OR Apache-2.0

// Package failpoint marks the moments at which a crash would hurt most, so that
// the kill test of services/serve/crashtest can have one exactly there.
//
//	failpoint.Hit("accept.committed")
//
// In the product a Hit is an empty function: it costs nothing, reads nothing, and
// leaves not even its name in the binary. Built with the tag failpoint, the
// process kills itself (SIGKILL) at the one that the environment names:
//
//	BLUFIO_FAILPOINT=accept.committed:3      the third time it comes by
//	BLUFIO_FAILPOINT=reserve.granted=poison  when it is about a text with that word
//
// and waits a hundredth of the time where it would wait for minutes, if BLUFIO_HASTE is set.
package failpoint

import "slices"

// Names are those in the order in which a message meets them. Each stands in the
// source exactly once, and the kill test dies at each.
func Names() []string {
	return []string{
		"accept.begin",        // the message is in memory only
		"accept.committed",    // it is on disk; the queue does not know
		"accept.answer",       // it is queued; the channel has not heard
		"reserve.ask",         // the turn is about to ask for money
		"reserve.granted",     // the reservation is on disk; the model was not asked
		"model.delta",         // the model speaks
		"model.answered",      // it is paid for, and only in memory
		"step.committed",      // the tools' effects are on disk; the turn goes on
		"turn.committed",      // the reply is on disk; the outbox does not know
		"deliver.ask",         // the channel is about to be asked
		"deliver.receipt",     // the channel has the reply; the outbox has it still
		"deliver.noted",       // the outbox has let it go
		"settle.ask",          // the ledger is about to be told
		"settle.booked",       // it is booked; the settlement is still listed
		"recall.ask",          // the recall room is about to be told of a fact
		"recall.kept",         // it has the fact; the fact is still listed
		"relay.store",         // the event is about to go to the stream
		"relay.stored",        // the stream has it; the event log does not know
		"telegram.page-taken", // a page of updates is accepted; Telegram does not know
		"telegram.part-sent",  // Telegram has a message; its id is not noted
		"telegram.part-noted", // its id is noted; the rest of the delivery is not
		"recover.requeued",    // a start has counted what was cut off; nothing runs yet
	}
}

// SummaryNames are those of a summary of a conversation, which has a kill test of its own.
func SummaryNames() []string {
	return []string{
		"summary.ask",       // the reservation is on disk; the model was not asked
		"summary.answered",  // it is paid for, and only in memory
		"summary.committed", // models read it from the next turn on
	}
}

// VaultNames are those of a change of the vault, which has a kill test of its own.
func VaultNames() []string {
	return []string{
		"vault.key-made",          // there is a key file; the vault does not know
		"vault.next-key-made",     // there is a new key file as well; the vault is as before
		"vault.rotated",           // the new one opens the vault; the old one is in its place
		"vault.next-key-in-place", // all is done; nobody has heard
	}
}

// RestoreNames are those of a restore and of its way back, which have a kill test of their own.
func RestoreNames() []string {
	return append([]string{
		"restore.extracted",      // the archive is laid out beside what it replaces
		"restore.proved",         // its database is as it was made
		"restore.migrated",       // and has this version's tables
		"restore.carried",        // and knows what the replaced one knew
		"restore.staged",         // all that is put in place is on disk
		"restore.intent-written", // from here on the new files count
		"restore.old-moved",      // one of the old files is out of the way
		"restore.old-synced",     // all of them are, on disk
		"restore.new-moved",      // one of the new files is in place
		"restore.new-synced",     // all of them are, on disk
		"restore.intent-removed", // nothing is pending any more
		"restore.done",           // nobody has heard
	}, restoreBackNames()...)
}

func restoreBackNames() []string {
	return []string{
		"restore.turned-back",     // something failed: from here on the old files count
		"restore.new-returned",    // one of the new files is out of the way
		"restore.old-returned",    // one of the old files is in place
		"restore.old-back-synced", // all of them are, on disk
		"restore.back-removed",    // nothing is pending any more
		"restore.replayed",        // somebody found a restore that was cut off
		"restore.back-replayed",   // or one that was going back
	}
}

// BackupNames are those of a backup, in their order. The kill test of services/serve/crashtest dies at
// each, in every process that passes it.
func BackupNames() []string {
	return []string{
		"backup.copied",   // the database is copied; nothing is checked
		"backup.checked",  // the cut is whole, in the scratch directory
		"backup.created",  // the archive is begun under another name
		"backup.written",  // all of it was given on
		"backup.handed",   // the reader has the last piece
		"backup.synced",   // it is on disk, under another name
		"backup.verified", // and was read again
		"backup.named",    // it has its name; the directory may not know
		"backup.listed",   // the directory knows it too
		"backup.kept",     // the daemon has heard of it; the database has not
		"backup.noted",    // so has the database; nothing is deleted
		"backup.thinned",  // old ones are deleted
	}
}

// MigrationNames are those of a start that brings the database up to date, which has a kill test of its own.
func MigrationNames() []string {
	return []string{
		"migrate.begun",     // the tables are as they were
		"migrate.stepped",   // one step ran; nothing is committed
		"migrate.applied",   // all of them did; nothing is committed
		"migrate.committed", // the tables are new; nobody has heard
	}
}

// All are the failpoints of all lists.
func All() []string {
	return slices.Concat(Names(), SummaryNames(), VaultNames(), BackupNames(), RestoreNames(), MigrationNames())
}
