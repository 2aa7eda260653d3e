// SPDX-License-Identifier: MIT OR Apache-2.0

// Package telegram is the channel of a Telegram bot: it polls the Bot API for
// messages, hands them to the agent, and sends what the agent answers.
//
// # In
//
//	bot.go      whose token there is: it may come, change and go while the room works
//	poll.go     asks for updates; those of one chat are handed over one after another,
//	            chats side by side
//	update.go   what an update says to the agent: text, command, edit, reply, file
//	allow.go    who may; whoever may not is told the id to add, once an hour
//
// Telegram forgets an update when it is asked for what comes behind it. That
// happens only after the agent has stored every message of the page, or the
// person was told why one cannot be taken. Until then, and after a crash, the same
// updates come again; the agent knows them by chat and message id (and the time of
// an edit), so that each is answered once. While the agent is busy, nothing is
// skipped: the page waits. It waits as well while Telegram does not let the room tell
// a refusal.
//
// A chat is an owner with the session "main"; each topic of a group is a session of
// its own. In groups the bot hears what mentions it, replies to it, or is a command.
// Files lie in services/internal/blob before the message is handed over.
//
// # Out
//
//	send.go     msg.send.telegram: the reply, in as many messages as it needs
//	stream.go   msg.delta.telegram: the answer while it is made, by edits
//	markdown.go what models write, as runs of text that look the same
//	split.go    runs cut at Telegram's bound of a message
//	schema.go   what was sent: the id of each message, before anything else happens
//
// Every part of a reply is noted as soon as Telegram has accepted it, so a delivery
// that is repeated goes on where the last one came to. Telegram knows no key for a
// request: when the daemon or the connection dies between Telegram's acceptance
// and our note of it, that one part is sent twice. While the database takes no
// notes, nothing more is sent.
//
// The first words of an answer are sent at once and then edited, at most once an
// interval. The reply is the last edit, also in a later life of the daemon.
//
// # Trouble
//
//	api.go      requests and refusals; the token is in every URL and never in an error
//	pace.go     not too fast, and silent for as long as Telegram asks for
//	evidence.go what status, health and the events channel.down and channel.up say
package telegram
