// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "time"

// QueueSchema names the shape of `blufio queue list --json`.
const QueueSchema = "blufio.queue/1"

// StatePending is a reply's that waits for its delivery. A reply that was given
// up is [StateDead], as a message is.
const StatePending = "pending"

// Kinds of letters.
const (
	LetterMessage = "message"
	LetterReply   = "reply"
)

// QueueQuery asks for a page of letters.
type QueueQuery struct {
	State string `json:"state,omitempty"` // queued, running, pending or dead; "" is all of these
	After string `json:"after,omitempty"` // the Next of the page before
	Limit int    `json:"limit,omitempty"` // 1 to 500, default 100
	Text  bool   `json:"text,omitempty"`  // with the letters' text
}

// QueuePage answers a QueueQuery: messages before replies, oldest first. Next is
// absent on the last page.
type QueuePage struct {
	Letters []Letter `json:"letters"`
	Next    string   `json:"next,omitempty"`
}

// Letter is a message on its way to an answer, or a reply on its way out.
type Letter struct {
	Kind     string    `json:"kind"` // message or reply
	ID       string    `json:"id"`   // of the message, also for its reply
	Channel  string    `json:"channel"`
	Owner    string    `json:"owner"`
	Session  string    `json:"session"`
	State    string    `json:"state"`
	Since    time.Time `json:"since"`    // received, or put into the outbox
	Attempts int       `json:"attempts"` // begun or made so far
	Error    string    `json:"error,omitempty"`
	Bytes    int       `json:"bytes"`
	Text     string    `json:"text,omitempty"`
}

// QueueAction names dead letters by their message's id. Where the message and its
// reply are both dead, it is about both.
type QueueAction struct {
	IDs []string `json:"ids"` // 1 to 100
}

// QueueOutcome says what was done. Each letter stands for itself: those that were
// refused hold up no others.
type QueueOutcome struct {
	Messages int            `json:"messages"`
	Replies  int            `json:"replies"`
	Refused  []QueueRefusal `json:"refused,omitempty"`
}

// QueueRefusal says why nothing was done about one letter.
type QueueRefusal struct {
	ID      string `json:"id"`
	Code    Code   `json:"code"`
	Message string `json:"message"`
}
