// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/tool"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// step is one round in which the model used tools: what it asked for, and the
// results it got.
type step struct {
	Asked    llm.Message `json:"asked"`
	Result   llm.Message `json:"result"`
	Provider string      `json:"provider,omitempty"` // that asked
	Model    string      `json:"model,omitempty"`
}

const toolTimeout = 30 * time.Second

// think finds the answer: by a command, or by asking the model until it needs no
// more tools.
func (s *Service) think(ctx context.Context, t *turn) (outcome, error) {
	if out, ok := s.command(ctx, t); ok {
		out.aside = true
		return out, ctx.Err() // a command that a stop cut off says so in its text
	}
	began := s.now()
	messages, err := s.conversation(ctx, t)
	t.context = s.now().Sub(began)
	if err != nil {
		return outcome{}, fmt.Errorf("read history: %w", err)
	}
	for round := len(t.steps); round <= s.cfg.MaxRounds; round++ {
		asked := s.now()
		answer, err := s.complete(ctx, t, round, messages)
		t.asking += s.now().Sub(asked)
		if err != nil {
			return outcome{}, err
		}
		if len(answer.Calls) == 0 || round == s.cfg.MaxRounds && strings.TrimSpace(answer.Text) != "" {
			return finalAnswer(answer)
		}
		if round == s.cfg.MaxRounds {
			break
		}
		done, err := s.useTools(ctx, t, round, answer)
		if err != nil {
			return outcome{}, err
		}
		messages = append(messages, done.Asked, done.Result)
	}
	// It was told not to, and asked for a tool again.
	return outcome{}, bus.Errorf(bus.CodeInternal, "the model kept asking for tools, %d times", s.cfg.MaxRounds).WithHint("the bound is agent.max_rounds")
}

// maxReplyBytes bounds an answer, as JSON: with its message it has to fit into
// what the bus carries at once.
const maxReplyBytes = 384 << 10

// finalAnswer is the outcome of the model's last word. An empty one would be a
// reply that no channel delivers and a history that no model takes.
func finalAnswer(answer llm.Response) (outcome, error) {
	text := strings.ToValidUTF8(answer.Text, "\uFFFD")
	if strings.TrimSpace(text) == "" {
		return outcome{}, bus.Errorf(bus.CodeInternal, "the model's answer was empty").WithHint("ask again, or in other words")
	}
	for jsonSize(text) > maxReplyBytes {
		text = excerpt(text, len(text)/2)
	}
	return outcome{state: bus.StateAnswered, text: text, aside: answer.Aside}, nil
}

// jsonSize returns how many bytes s has as a JSON string, at most.
func jsonSize(s string) int {
	n := len(s) + 2
	for _, c := range []byte(s) {
		switch {
		case c < ' ', c == '<', c == '>', c == '&':
			n += 5
		case c == '"', c == '\\', c == 0xe2: // the last begins U+2028 and U+2029, which are escaped
			n += 3
		}
	}
	return n
}

// maxCalls bounds the tools one model call may ask for.
const maxCalls = 16

// useTools runs the tools of one round and commits the step with their effects,
// so that a resumed turn neither repeats nor misses them.
func (s *Service) useTools(ctx context.Context, t *turn, round int, answer llm.Response) (step, error) {
	st := step{Asked: llm.Message{Role: llm.Assistant, Calls: slices.Clone(answer.Calls)}, Result: llm.Message{Role: llm.User}}
	var writes []func(tx *sqlite.Tx) error
	var facts []bus.ToolFact
	if len(answer.Calls) > maxCalls {
		return st, bus.Errorf(bus.CodeInternal, "the model asked for %d tools at once; at most %d are run", len(answer.Calls), maxCalls)
	}
	st.Asked.Text = s.admit(&t.holds, answer.Text)
	for i, call := range answer.Calls {
		input, unfit := s.admitInput(&t.holds, call.Input)
		call.Input = input
		began := s.now()
		res, err := s.useTool(ctx, t, call, unfit)
		t.using += s.now().Sub(began)
		if ctx.Err() != nil {
			return st, ctx.Err()
		}
		if err != nil {
			res = tool.Result{Text: s.toolFailure(t, call, err)}
		}
		res.Text = s.admit(&t.holds, res.Text)
		st.Asked.Calls[i] = call
		st.Result.Results = append(st.Result.Results, llm.ToolResult{CallID: call.ID, Text: res.Text, Failed: err != nil})
		if res.Write != nil {
			writes = append(writes, res.Write)
		}
		facts = append(facts, bus.ToolFact{Time: s.now(), MessageID: t.id, Tool: s.toolLabel(call.Name), OK: err == nil,
			DurationMS: s.now().Sub(began).Milliseconds(), Bytes: len(res.Text)})
	}
	stored := s.now()
	if err := s.storeStep(ctx, t, func() error { return s.commitStep(ctx, t, round, st, writes, facts) }); err != nil {
		return st, fmt.Errorf("store step: %w", err)
	}
	t.storing += s.now().Sub(stored)
	failpoint.Hit("step.committed")
	t.steps = append(t.steps, st)
	t.tools += len(facts)
	t.used = nil
	return st, nil
}

// toolFailure is what the model reads of a tool's error: what the tool meant for
// it, but not what happened inside.
func (s *Service) toolFailure(t *turn, call llm.ToolCall, err error) string {
	var e *bus.Error
	if errors.As(err, &e) {
		return "The tool failed: " + s.redact(e.Message)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("The tool failed: it did not end within %s", toolTimeout)
	}
	s.log.Error("tool failed", "service", "agent", "trace", t.id, "tool", s.toolLabel(call.Name), "err", err)
	return "The tool failed; the log has the details."
}

// toolLabel keeps names that a model made up out of events.
func (s *Service) toolLabel(name string) string {
	if s.tools[name] == nil {
		return "unknown"
	}
	return name
}

// useTool runs one tool, unless its input is unfit.
func (s *Service) useTool(ctx context.Context, t *turn, call llm.ToolCall, unfit error) (tool.Result, error) {
	tl := s.tools[call.Name]
	if tl == nil {
		return tool.Result{}, bus.Errorf(bus.CodeNotFound, "there is no tool of that name")
	}
	if unfit != nil {
		return tool.Result{}, unfit
	}
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	var res tool.Result
	err := services.Contain(func() (err error) {
		res, err = tl.Call(ctx, tool.Call{ID: t.id + "-" + call.ID, Person: s.person(t.key), Owner: t.key.owner, Channel: t.key.channel, Session: t.key.name,
			Source: t.source(), Recall: s.desk, Input: call.Input, Now: s.now()})
		return err
	})
	res.Text = s.redact(res.Text) // the daemon's own secrets are no model's business
	res.Text = excerpt(res.Text, tool.MaxResultBytes)
	return res, err
}

// storeStep commits a step. While the disk refuses, it keeps the step and tries
// again for as long as the turn may take: the round is paid for.
func (s *Service) storeStep(ctx context.Context, t *turn, commit func() error) error {
	for {
		err := commit()
		if !errors.Is(err, sqlite.ErrFull) && !errors.Is(err, sqlite.ErrBusy) {
			return err
		}
		s.log.Warn("step not stored, trying again", "service", "agent", "trace", t.id, "err", err)
		select {
		case <-time.After(s.pauses.store):
		case <-ctx.Done():
			return bus.Errorf(bus.CodeUnavailable, "what the tools did could not be stored").WithHint("see that the disk has space, and say it again")
		}
	}
}

func (s *Service) commitStep(ctx context.Context, t *turn, round int, st step, writes []func(*sqlite.Tx) error, facts []bus.ToolFact) error {
	st.Provider, st.Model = t.provider, t.model
	payload, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return s.keepStep(ctx, func(tx *sqlite.Tx) error {
		if _, err := tx.Exec(`INSERT INTO step (seq, round, payload) VALUES (?, ?, ?)`, t.seq, round, payload); err != nil {
			return err
		}
		for _, w := range writes {
			if err := w(tx); err != nil {
				return err
			}
		}
		for _, f := range facts {
			if err := eventlog.Record(s.events, tx, bus.ToolCalled, f); err != nil {
				return err
			}
		}
		return s.bookLater(tx, t.used)
	})
}

func (s *Service) loadSteps(ctx context.Context, t *turn) error {
	rows, err := s.store.Query(ctx, `SELECT payload FROM step WHERE seq = ? ORDER BY round`, t.seq)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var payload []byte
		var st step
		if err := rows.Scan(&payload); err != nil {
			return err
		}
		if err := json.Unmarshal(payload, &st); err != nil {
			t.unread = errors.Join(t.unread, fmt.Errorf("read step: %w", err))
		}
		t.steps = append(t.steps, st)
		s.goOn(&t.holds, st.bytes())
	}
	return rows.Err()
}
