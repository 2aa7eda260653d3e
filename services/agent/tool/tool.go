// SPDX-License-Identifier: MIT OR Apache-2.0

// Package tool holds what the agent's model can do besides talking. A [Set] is
// what the configuration enables of it, always in the same order.
//
//	time                              tool.go
//	remember, recall, forget          recall.go: facts about the person, kept by the recall room
//	search_history                    history.go: what was said long ago in this conversation
//	http_get                          http.go, html.go; package outbound refuses private networks
//	list_dir, read_file, write_file   file.go, write.go: within one directory
//	shell                             shell.go: the owner's list of commands, none by default
//
// What comes from outside, a page, a file or a command's output, is framed as data
// for the model. Effects within the database happen exactly once ([Result].Write);
// a file is written before its step is recorded and is the same when it is written
// again; a command that a crash cut off runs again.
package tool

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// MaxResultBytes bounds what a tool may hand to the model.
const MaxResultBytes = 16 << 10

// Tool is one ability. Call runs on many goroutines at once and ends with ctx. The
// model reads the message of a [bus.Error]; of any other error it only hears that
// there was one.
type Tool interface {
	Spec() llm.ToolSpec
	Call(ctx context.Context, c Call) (Result, error)
}

// Call is one use of a tool, on behalf of a person.
type Call struct {
	ID      string // the same when the call is made again after a crash, if it is the same one
	Person  string // whose facts are kept, found and forgotten
	Owner   string
	Channel string // with Owner and Session, the conversation
	Session string
	Source  string // of a fact that is kept: bus.RecallPerson if the person asked for it by name
	Recall  Recall
	Input   json.RawMessage
	Now     time.Time
}

// Result is what the model gets to read. Write, if not nil, is the lasting
// effect: it runs in the transaction that records the step, so that after a
// crash it has happened exactly once or not at all.
type Result struct {
	Text  string
	Write func(tx *sqlite.Tx) error
}

// decode reads a tool's input and refuses fields it does not know.
func decode(input json.RawMessage, into any) error {
	d := json.NewDecoder(bytes.NewReader(input))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return bus.Errorf(bus.CodeInvalid, "read tool input: %v", err)
	}
	return nil
}

// Time tells the time.
type Time struct{ Location *time.Location }

// Spec describes the tool.
func (Time) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: "time", Description: "The current date, time and time zone.",
		Schema: json.RawMessage(`{"type":"object","properties":{},"additionalProperties":false}`)}
}

// Call answers with the time.
func (t Time) Call(_ context.Context, c Call) (Result, error) {
	return Result{Text: c.Now.In(t.Location).Format("Monday, 2 January 2006, 15:04:05 MST (-07:00)")}, nil
}
