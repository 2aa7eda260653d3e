// SPDX-License-Identifier: MIT OR Apache-2.0

// Package crashtest proves, with the real binary, that everything acknowledged
// is answered. It holds tests only.
//
// A driver, a process of its own, speaks in several sessions at once: half of
// them by the gateway's POST /v1/messages, half by the bus as the command line
// does. It goes on as fast as it gets acknowledgements, repeats a message under
// the same key when the connection breaks, and keeps its own list: what was
// acknowledged is written down and synced to disk before the next message goes.
//
// Meanwhile the test kills the daemon (SIGKILL) at random moments, some of them
// while it still starts, and starts it again on the same data directory. In the
// end it lets the daemon settle, stops it, and compares the list with
//
//	history_test.go  what the daemon tells over HTTP and the bus: each message
//	                 once, in the order of its session, with the reply to it
//	books_test.go    the database: notes, ledger, inbox, outbox, interruptions
//	stream_test.go   the event stream, read by a nats.go consumer
//
// The random moments come from a seed, which a failure prints:
//
//	go test ./services/serve/crashtest -run Kill              16 kills, some seconds
//	CRASH_SEED=7 go test …                                    the same moments again
//	SOAK_KILLS=200 go test -timeout 60m …                     what `make soak` does
//
// With SOAK_KILLS the proof that the test can fail runs as well: it builds the
// daemon with the tag mutate_inbox, which acknowledges before the inbox is
// committed, and wants lost messages.
package crashtest
