// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "time"

// MessageReceived: a message was stored. Text only with bus.events_text.
type MessageReceivedFact struct {
	Time      time.Time `json:"time"`
	MessageID string    `json:"message_id"`
	Session   string    `json:"session"`
	Channel   string    `json:"channel"`
	Bytes     int       `json:"bytes"`
	Text      string    `json:"text,omitempty"`
}

// TurnFact tells how one turn ended. Provider and Model are who answered, or was
// asked last; empty where no model was asked, as for a command. Text, the reply,
// only with bus.events_text.
type TurnFact struct {
	Time       time.Time `json:"time"`
	MessageID  string    `json:"message_id"`
	Session    string    `json:"session"`
	Channel    string    `json:"channel"`
	State      string    `json:"state"` // answered or failed
	Error      Code      `json:"error,omitempty"`
	Provider   string    `json:"provider,omitempty"`
	Model      string    `json:"model,omitempty"`
	Rounds     int       `json:"rounds"` // model calls made, those that failed included
	Tools      int       `json:"tools"`  // tool calls made
	QueuedMS   int64     `json:"queued_ms"`
	DurationMS int64     `json:"duration_ms"`
	Bytes      int       `json:"bytes"` // of the reply
	Text       string    `json:"text,omitempty"`
}

// TurnInterruptedFact: a crash cut the turn off; it starts again.
type TurnInterruptedFact struct {
	Time      time.Time `json:"time"`
	MessageID string    `json:"message_id"`
	Session   string    `json:"session"`
	Channel   string    `json:"channel"`
	Attempt   int       `json:"attempt"` // attempts begun so far
}

// ToolFact: the agent used a tool.
type ToolFact struct {
	Time       time.Time `json:"time"`
	MessageID  string    `json:"message_id"`
	Tool       string    `json:"tool"`
	OK         bool      `json:"ok"`
	DurationMS int64     `json:"duration_ms"`
	Bytes      int       `json:"bytes"` // of the result
}

// CompactedFact: the exchanges FromSeq to ToSeq of a session's conversation have a
// summary now. Exchanges of them are new in it, the others were in the summary before.
// What the model calls cost, evt.cost.recorded says under the ids in Calls.
type CompactedFact struct {
	Time         time.Time `json:"time"`
	Session      string    `json:"session"`
	Channel      string    `json:"channel"`
	MessageID    string    `json:"message_id"` // behind whose turn it was made, or before
	FromSeq      int64     `json:"from_seq"`
	ToSeq        int64     `json:"to_seq"`
	Exchanges    int       `json:"exchanges"`
	TokensBefore int64     `json:"tokens_before"` // of the exchanges and the summary before, as estimated
	TokensAfter  int64     `json:"tokens_after"`
	Provider     string    `json:"provider"`
	Model        string    `json:"model"`
	Tries        int       `json:"tries"` // 2: the first one lacked something
	Calls        []string  `json:"calls"`
	InputTokens  int64     `json:"input_tokens"` // of all calls
	OutputTokens int64     `json:"output_tokens"`
	Before       bool      `json:"before"` // before the turn, which waited for it
}

// ProviderDownFact: a provider failed Failures times in a row, with Error the last
// time. Until then it is not asked; other providers of the route are.
type ProviderDownFact struct {
	Time     time.Time `json:"time"`
	Provider string    `json:"provider"`
	Failures int       `json:"failures"`
	Error    Code      `json:"error"`
	Since    time.Time `json:"since"` // of the first of these failures
	Until    time.Time `json:"until"` // when it is tried again
}

// ProviderUpFact: a provider that was down answers again.
type ProviderUpFact struct {
	Time     time.Time `json:"time"`
	Provider string    `json:"provider"`
	DownMS   int64     `json:"down_ms"` // since its first failure
}

// ReplyFact tells what became of a reply's delivery.
type ReplyFact struct {
	Time      time.Time `json:"time"`
	MessageID string    `json:"message_id"`
	Channel   string    `json:"channel"`
	Attempts  int       `json:"attempts"`
	Error     string    `json:"error,omitempty"`
}

// DeadFact: a message was given up after repeated crashes and is kept as a dead letter.
type DeadFact struct {
	Time      time.Time `json:"time"`
	MessageID string    `json:"message_id"`
	Session   string    `json:"session"`
	Channel   string    `json:"channel"`
	Attempts  int       `json:"attempts"`
}
