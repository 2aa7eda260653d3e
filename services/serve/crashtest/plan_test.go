// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	everyone   = speakers + 3 // with those on Telegram, whom it lets read about one message a second
	speakers   = 8            // sessions that speak at once, each with an owner of its own
	awaitEvery = 8            // every so many messages a speaker waits for the reply, so that no backlog grows for ever
)

// Channels of the speakers.
const (
	gateway  = "gateway"
	terminal = "terminal"
	telegram = "telegram"
)

// plan says where things are.
type plan struct{ dir string }

func (p plan) data() string             { return filepath.Join(p.dir, "data") }
func (p plan) database() string         { return filepath.Join(p.data(), "blufio.db") }
func (p plan) config() string           { return filepath.Join(p.dir, "blufio.toml") }
func (p plan) log() string              { return filepath.Join(p.dir, "daemon.log") }
func (p plan) journal(s speaker) string { return filepath.Join(p.dir, s.owner()+".jsonl") }

// speaker is one session, by its number.
type speaker int

func (s speaker) owner() string {
	if s.channel() == telegram {
		return fmt.Sprint(s.chat())
	}
	return fmt.Sprintf("owner-%d", s)
}

func (s speaker) session() string {
	if s.channel() == telegram {
		return "main"
	}
	return fmt.Sprintf("session-%d", s)
}

// chat is the speaker's id on Telegram.
func (s speaker) chat() int64 { return 1000 + int64(s) }

func (s speaker) channel() string {
	if s >= speakers {
		return telegram
	}
	return []string{gateway, terminal}[s%2]
}

// Kinds of messages: each goes another way through a turn.
const (
	remember = iota // a tool, with a step and a note
	plain           // one model call
	command         // no model call
	kinds
)

// text is what the speaker's message number n says, different for every message.
func (s speaker) text(n int) string {
	switch n % kinds {
	case remember:
		return "remember " + s.note(n)
	case command:
		return fmt.Sprintf("/help crash-%d-%d", s, n)
	}
	return fmt.Sprintf("what about crash-%d-%d then", s, n)
}

func (s speaker) note(n int) string { return fmt.Sprintf("crash-%d-%d has a note", s, n) }

// answers reports whether reply can only be the one to message number n.
func (s speaker) answers(n int, reply string) bool {
	switch n % kinds {
	case remember:
		return spokenBy(reply) >= 0 && strings.Contains(reply, "Noted: "+s.note(n))
	case command:
		return strings.HasPrefix(reply, "/new ")
	}
	return spokenBy(reply) >= 0 && strings.Contains(reply, fmt.Sprintf("%q", s.text(n)))
}

// modelCalls is how many a turn about message number n takes.
func modelCalls(n int) int { return []int{remember: 2, plain: 1, command: 0}[n%kinds] }

// ack is a line of the driver's list: a message that the daemon has promised to
// answer.
type ack struct {
	ID      string `json:"id"`
	Session string `json:"session"`
	N       int    `json:"n"`
	Text    string `json:"text"`
	Reply   string `json:"reply,omitempty"` // if it came with the acknowledgement
}

// journal is the driver's list of one session.
type journal struct{ file *os.File }

func newJournal(path string) (journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return journal{f}, err
}

// write returns when the line is on disk.
func (j journal) write(a ack) error {
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return err
	}
	return j.file.Sync()
}

func readJournal(path string) ([]ack, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []ack
	for dec := json.NewDecoder(f); ; {
		var a ack
		if err := dec.Decode(&a); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		all = append(all, a)
	}
}
