// SPDX-License-Identifier: MIT OR Apache-2.0

// Package crashtest proves, with the real binary, that everything acknowledged
// is answered. It holds tests only.
//
// # Kills
//
// A driver, a process of its own, speaks in several sessions at once: half of
// them by the gateway's POST /v1/messages, half by the bus as the command line
// does. It goes on as fast as it gets acknowledgements, repeats a message under
// the same key when the connection breaks, and keeps its own list: what was
// acknowledged is written down and synced to disk before the next message goes.
// More people talk to the bot on a Telegram server (telegram_test.go), whose every
// message counts as acknowledged. The daemon asks a model over HTTP that streams
// with random pauses, asks for a tool, and bills (model_test.go).
//
// Meanwhile the daemon dies, again and again: at random moments, some of them
// while it still starts, and once at each failpoint (services/internal/failpoint).
// In the end the test lets it settle, stops it, and compares the lists with
//
//	history_test.go   what the daemon tells over HTTP and the bus: each message
//	                  once, in the order of its session, with the reply to it
//	books_test.go     the database: notes, inbox, outbox, interruptions, and the
//	                  ledger, which has to be the model's bills
//	stream_test.go    the event stream, read by a nats.go consumer
//	telegram_test.go  the chats: each reply is there, and at most one message twice
//	                  for each kill
//
// The random moments come from a seed, which a failure prints:
//
//	go test ./services/serve/crashtest -run Kill              28 kills, some seconds
//	CRASH_SEED=7 go test …                                    the same moments again
//	SOAK_KILLS=500 go test -timeout 90m …                     what `make soak` does
//
// With SOAK_KILLS the proof that the test can fail runs as well (mutant_test.go):
// it builds the daemon with the tag mutate, leaves out one commit at a time, and
// wants each to be seen.
//
// # Other trouble
//
//	cutoff_test.go    Telegram cannot be reached: what waits there is taken afterwards
//	scenario_test.go  the model's server refuses or is gone; a message that ends the
//	                  process each time it is thought about
//	summary_test.go   a kill at each step of a summary of a conversation
//	vault_test.go     a kill at each step of a change of the vault
//	restore_test.go   a kill at each step of a restore, on its way back, and at any moment
//	restore_disk_test.go  a restore on a full, a read-only and a mounted disk, as root, and who listens
//	upgrade_test.go   databases of earlier versions, and a kill at each step of their migration
//	disk_test.go      the disk is full, and has space again (needs root)
//	clock_test.go     the clock is a day ahead, or behind
//	bulk_test.go      very many messages at once; a session with very many
//
// Each is short here and long with SOAK_KILLS.
package crashtest
