// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "time"

// Message is what a channel hands to the agent: something a person said.
type Message struct {
	Channel    string     `json:"channel"`               // the channel's name, a subject word
	ExternalID string     `json:"external_id,omitempty"` // the source's own id; a second message with it is the same message; at most 200 bytes
	Owner      string     `json:"owner"`                 // whose session it is: a token's subject, a chat's id
	Session    string     `json:"session,omitempty"`     // the name the owner gave the session; "" is "main"
	Text       string     `json:"text"`                  // UTF-8; empty only when there are attachments
	SentAt     *time.Time `json:"sent_at,omitempty"`     // when the source says it was written

	Attachments []Attachment `json:"attachments,omitempty"` // at most 10
}

// Kinds of attachments.
const (
	KindImage    = "image"
	KindAudio    = "audio" // voice messages too
	KindVideo    = "video"
	KindDocument = "document"
)

// Attachment is a file that came with a message. The file itself does not travel
// on the bus: it is kept under its id in the database, at least until the message
// is answered, and then for as long as its channel is set to keep files.
type Attachment struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`       // image, audio, video or document
	MediaType string `json:"media_type"` // as the source says, "image/jpeg"
	Name      string `json:"name"`       // for people, not a path
	Bytes     int64  `json:"bytes"`
}

// Accepted says that the message is stored and will be answered.
type Accepted struct {
	ID        string `json:"id"`
	Session   string `json:"session"`
	Duplicate bool   `json:"duplicate,omitempty"` // it had been stored before; ID is the first one's
}

// Message states, as the gateway shows them too.
const (
	StateQueued   = "queued"   // stored, waiting for its turn
	StateRunning  = "running"  // the agent works on it
	StateAnswered = "answered" // the reply is stored
	StateFailed   = "failed"   // no answer could be made; the reply says why
	StateDead     = "dead"     // given up after repeated crashes
)

// MessageQuery asks for one message by id. Only its owner is told of it; an
// empty Owner asks as the operator.
type MessageQuery struct {
	ID    string `json:"id"`
	Owner string `json:"owner,omitempty"`
}

// MessageRecord is one message and what became of it.
type MessageRecord struct {
	Seq        int64      `json:"seq"` // grows with every accepted message
	ID         string     `json:"id"`
	Session    string     `json:"session"`
	Channel    string     `json:"channel"`
	State      string     `json:"state"`
	Text       string     `json:"text"`
	Reply      string     `json:"reply,omitempty"`
	Error      Code       `json:"error,omitempty"` // why it failed
	ReceivedAt time.Time  `json:"received_at"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`

	Attachments []Attachment `json:"attachments,omitempty"`
}

// Reply is an answer on its way out to a channel. The same Key may arrive
// twice: a channel that can, sends it on only once.
type Reply struct {
	Key       string `json:"key"` // idempotency key of this delivery
	MessageID string `json:"message_id"`
	Owner     string `json:"owner"`
	Session   string `json:"session"`
	State     string `json:"state"` // answered, failed or dead
	Text      string `json:"text"`
	Attempt   int    `json:"attempt"` // from 1
}

// Delta is a piece of an answer while it is being made: best effort, for those
// who like to watch. Pieces of one Attempt and Round, put together by N, are what the
// model has said so far; a higher Attempt or Round begins anew. A higher Attempt also
// takes back what was said before, in every Round: a model broke off and another one
// begins, or the turn does after a crash. Only the Reply counts.
type Delta struct {
	MessageID string `json:"message_id"`
	Owner     string `json:"owner"`
	Session   string `json:"session"`
	Attempt   int    `json:"attempt"` // from 1; grows, not always by one, whenever the turn's text begins anew
	Round     int    `json:"round"`   // model call of the turn, from 0
	N         int    `json:"n"`       // from 0, without a gap unless one was lost
	Text      string `json:"text"`
}

// Receipt says that the channel took the reply over: the source has it, or the
// channel keeps it for the asker to fetch.
type Receipt struct {
	ExternalID string `json:"external_id,omitempty"` // the source's id of what was sent
}

// SessionQuery asks for the sessions of one owner on one channel, newest first.
type SessionQuery struct {
	Channel string `json:"channel"`
	Owner   string `json:"owner"`
	Limit   int    `json:"limit,omitempty"` // 1 to 500, default 100
}

// Session is one conversation.
type Session struct {
	Name      string    `json:"name"`
	State     string    `json:"state"` // idle, waiting or running
	Messages  int64     `json:"messages"`
	CreatedAt time.Time `json:"created_at"`
	LastAt    time.Time `json:"last_at"`
}

// Sessions answers a SessionQuery.
type Sessions struct {
	Sessions []Session `json:"sessions"`
}

// HistoryQuery asks for a page of one session's messages, oldest first.
type HistoryQuery struct {
	Channel string `json:"channel"`
	Owner   string `json:"owner"`
	Session string `json:"session"`
	After   int64  `json:"after,omitempty"` // only messages with a higher seq
	Limit   int    `json:"limit,omitempty"` // 1 to 500, default 100
}

// History answers a HistoryQuery. More says that the page was cut, by Limit or
// by size; ask again with After set to the last Seq.
type History struct {
	Messages []MessageRecord `json:"messages"`
	More     bool            `json:"more,omitempty"`
}

// AgentQuery asks the agent how it stands.
type AgentQuery struct{}

// AgentSummary is the agent's answer.
type AgentSummary struct {
	Provider string        `json:"provider"`
	Model    string        `json:"model"`
	Sessions SessionCounts `json:"sessions"`
	Queues   QueueDepths   `json:"queues"`
	Context  ContextCounts `json:"context"`
}

// ContextCounts tell of what models read beside the latest messages: sessions whose older
// part has a summary; and since the daemon started, summaries that were made, ones that
// were not taken because they lacked what matters, ones that failed, and questions for
// what is known of a person that nobody answered.
type ContextCounts struct {
	Summaries    int64 `json:"summaries"`
	Made         int64 `json:"made"`
	KeptWhole    int64 `json:"kept_whole"`
	Failed       int64 `json:"failed"`
	RecallFailed int64 `json:"recall_failed"`
}

// SessionCounts: active sessions have a message waiting or running; interrupted
// counts turns that a crash cut off since the database was made.
type SessionCounts struct {
	Active      int   `json:"active"`
	Total       int64 `json:"total"`
	Interrupted int64 `json:"interrupted"`
}

// QueueDepths: messages not yet answered, replies not yet delivered, and what
// was given up.
type QueueDepths struct {
	Inbox  int64 `json:"inbox"`
	Outbox int64 `json:"outbox"`
	Dead   int64 `json:"dead"`
}
