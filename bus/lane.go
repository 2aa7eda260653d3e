// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Prefix starts every subject: the product and the version of the contract.
const Prefix = "blufio.v1."

// Kind tells events from calls.
type Kind string

const (
	KindDurable Kind = "durable event" // a row in the database, relayed and kept in the stream
	KindLive    Kind = "live event"    // only published
	KindCall    Kind = "call"          // question and answer
)

// Spec describes one lane: what the contract says about a subject.
type Spec struct {
	Name    string        // subject without Prefix; a trailing {token} is filled in by To
	Kind    Kind          // set by the constructors
	From    []string      // who says it: rooms, "cli", "tool"
	Heard   []string      // who hears or answers it; "anyone" with the right key
	Meaning string        // one sentence for people
	Timeout time.Duration // calls: the longest a caller waits; default 5 s
	Payload reflect.Type
	Reply   reflect.Type // calls only
}

// Subject returns the lane's full subject, with "*" for an open token.
func (s *Spec) Subject() string {
	name := s.Name
	if i := strings.IndexByte(name, '{'); i >= 0 {
		name = name[:i] + "*"
	}
	return Prefix + name
}

// Area is the first word of the name, the unit that permissions speak of.
func (s *Spec) Area() string {
	area, _, _ := strings.Cut(s.Name, ".")
	return area
}

// Lane is a declared subject: an [Event] or a [Call].
type Lane interface {
	Spec() *Spec
}

// Event is a lane that carries facts or notices of type T.
type Event[T any] struct {
	spec    *Spec
	subject string
}

// Call is a lane that carries a question of type T and an answer of type R.
type Call[T, R any] struct {
	spec    *Spec
	subject string
}

func durable[T any](s Spec) Event[T] { return newEvent[T](s, KindDurable) }
func live[T any](s Spec) Event[T]    { return newEvent[T](s, KindLive) }

func newEvent[T any](s Spec, k Kind) Event[T] {
	s.Kind = k
	s.Payload = reflect.TypeFor[T]()
	return Event[T]{spec: &s, subject: s.Subject()}
}

func call[T, R any](s Spec) Call[T, R] {
	s.Kind = KindCall
	s.Payload = reflect.TypeFor[T]()
	s.Reply = reflect.TypeFor[R]()
	if s.Timeout == 0 {
		s.Timeout = 5 * time.Second
	}
	return Call[T, R]{spec: &s, subject: s.Subject()}
}

// Spec returns the lane's declaration.
func (e Event[T]) Spec() *Spec { return e.spec }

// Spec returns the lane's declaration.
func (l Call[T, R]) Spec() *Spec { return l.spec }

// To fills in the lane's token: MessageSend.To("gateway").
func (l Call[T, R]) To(token string) Call[T, R] {
	l.subject = fill(l.spec, token)
	return l
}

// fill replaces the open token of s; a token must be one subject word.
func fill(s *Spec, token string) string {
	head, rest, open := strings.Cut(s.Name, "{")
	if !open || !strings.HasSuffix(rest, "}") || !ValidToken(token) {
		return Prefix + "invalid.token" // no lane is declared there: Conn refuses it
	}
	return Prefix + head + token
}

// ValidToken reports whether s may stand as one word of a subject: 1 to 64
// lower-case letters, digits, '-' or '_'.
func ValidToken(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return true
}

// To fills in the lane's token: MessageDelta.To("gateway").
func (e Event[T]) To(token string) Event[T] {
	e.subject = fill(e.spec, token)
	return e
}

// NameRule is what ValidName holds, for people.
const NameRule = "use 1 to 64 of a-z, 0-9, - and _, with a letter or digit first"

// ValidName reports whether s may be the name of a key or of a token: a word of a subject
// that no command line takes for a flag.
func ValidName(s string) bool { return ValidToken(s) && s[0] != '-' && s[0] != '_' }

// Publish says v at once, without waiting for anyone to hear it. A durable event
// is not published this way: its row is written with its fact and relayed.
func (e Event[T]) Publish(c *Conn, v T) error {
	if e.spec.Kind == KindDurable {
		return fmt.Errorf("publish %s: a durable event is written with its fact, not published", e.spec.Name)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", e.spec.Name, err)
	}
	return c.publish(e.spec, e.subject, data)
}

// Encode returns the subject and the JSON that v travels as, for the event log.
func (e Event[T]) Encode(v T) (subject string, data []byte, err error) {
	data, err = json.Marshal(v)
	if err != nil {
		return "", nil, fmt.Errorf("encode %s: %w", e.spec.Name, err)
	}
	return e.subject, data, nil
}

// On declares that fn hears this event. Events of one subscription arrive one
// after another; fn must be quick and hand longer work to a worker of its own.
func (e Event[T]) On(fn func(ctx context.Context, v T)) Handler {
	return Handler{spec: e.spec, subject: e.subject, hear: func(ctx context.Context, data []byte) error {
		v, err := decode[T](data)
		if err != nil {
			return err
		}
		fn(ctx, v)
		return nil
	}}
}

// Ask sends req and waits for the answer until ctx ends or the lane's timeout
// passes. The error is an [*Error] or ctx's.
func (l Call[T, R]) Ask(ctx context.Context, c *Conn, req T) (R, error) {
	var zero R
	data, err := json.Marshal(req)
	if err != nil {
		return zero, fmt.Errorf("encode %s: %w", l.spec.Name, err)
	}
	reply, err := c.ask(ctx, l.spec, l.subject, data)
	if err != nil {
		return zero, err
	}
	return decode[R](reply)
}

// Answer declares that fn answers this call. Up to 8 run at once and 256 wait;
// more are told busy. Use Workers and Queue to change that.
func (l Call[T, R]) Answer(fn func(ctx context.Context, req T) (R, error)) Handler {
	return Handler{spec: l.spec, subject: l.subject, workers: 8, queue: 256, answer: func(ctx context.Context, data []byte) ([]byte, error) {
		req, err := decode[T](data)
		if err != nil {
			return nil, err
		}
		reply, err := fn(ctx, req)
		if err != nil {
			return nil, err
		}
		return json.Marshal(reply)
	}}
}

func decode[T any](data []byte) (T, error) {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return v, Errorf(CodeInvalid, "payload is not %T: %v", v, err)
	}
	return v, nil
}

// Handler is one lane heard or answered by a room.
type Handler struct {
	spec    *Spec
	subject string
	workers int // calls: answers computed at once
	queue   int // calls: requests waiting beyond those; events: messages pending
	answer  func(ctx context.Context, data []byte) ([]byte, error)
	hear    func(ctx context.Context, data []byte) error
	after   func() // calls: once the answer has left
}

// Spec returns the declaration of the handled lane.
func (h Handler) Spec() *Spec { return h.spec }

// Workers sets how many answers are computed at once.
func (h Handler) Workers(n int) Handler { h.workers = n; return h }

// Queue sets how many requests may wait for a worker before callers are told busy.
func (h Handler) Queue(n int) Handler { h.queue = n; return h }

// Bound is how many requests, running ones included, or events the handler takes
// before callers are told busy, or events dropped.
func (h Handler) Bound() int {
	if h.spec.Kind == KindCall {
		return h.workers + h.queue
	}
	return eventQueue
}

// Afterwards has fn called once a good answer has reached the server: what would cut off
// the one who asked goes there.
func (h Handler) Afterwards(fn func()) Handler { h.after = fn; return h }

// GoldenName is the name of the lane's example in testdata/v1, which EVENTS.md
// shows and a test holds against the payload's type.
func GoldenName(s *Spec) string {
	return strings.NewReplacer("{", "", "}", "").Replace(s.Name) + ".json"
}
