// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
)

// Bounds of what other daemons answer.
const (
	maxRow       = 2048      // bytes of one row
	maxRows      = 900 << 10 // bytes of all, within what the bus carries
	maxRollBytes = 8 << 20   // waiting to be read
)

// reach returns the connection to the hub, or why there is none.
func (s *Service) reach(others bool) (*nats.Conn, error) {
	nc := s.leaf.Load()
	switch {
	case s.d.Server.Leaf() == nil:
		return nil, bus.Errorf(bus.CodeUnavailable, "this daemon has no hub").WithHint("name one with [bus.leaf] url and seed_file in blufio.toml")
	case nc == nil || nc.IsClosed():
		return nil, bus.Errorf(bus.CodeUnavailable, "the hub room is starting or stopping").WithHint("try again in a moment")
	case others && !s.d.Server.HubConnected():
		why := ""
		if text := s.d.Server.HubTrouble(); text != "" {
			why = ": " + clean(text)
		}
		return nil, bus.Errorf(bus.CodeUnavailable, "this daemon does not reach its hub%s", why).
			WithHint("check bus.leaf.url, and whether the hub knows the key in bus.leaf.seed_file")
	}
	return nc, nil
}

// ask puts a call to another daemon, or to this one by its name on the hub. That
// nobody is there is asked beside, for the answer to a call may take longer than
// one should wait for nobody.
func (s *Service) ask(ctx context.Context, q bus.NodeQuestion) (bus.NodeAnswer, error) {
	var none bus.NodeAnswer
	if !slices.ContainsFunc(bus.HubCalls(), func(c bus.HubCall) bool { return c.Spec().Name == q.Call }) {
		return none, bus.Errorf(bus.CodeDenied, "%s is not answered through a hub", clean(q.Call))
	}
	if !bus.ValidToken(q.Node) {
		return none, bus.Errorf(bus.CodeInvalid, "%q is no name of a daemon", clean(q.Node)).WithHint("`blufio nodes` lists those on the hub")
	}
	nc, err := s.reach(q.Node != s.name.node)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.bounds.askWait)
	defer cancel()
	m, err := s.question(ctx, nc, q)
	if err != nil {
		if _, away := s.reach(q.Node != s.name.node); away != nil {
			err = away // it went while it was asked
		}
		return none, err
	}
	return answerOf(m), nil
}

// question waits for the answer for as long as the other one is known to be there.
func (s *Service) question(ctx context.Context, nc *nats.Conn, q bus.NodeQuestion) (*nats.Msg, error) {
	type outcome struct {
		m   *nats.Msg
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	answers, greetings := make(chan outcome, 1), make(chan error, 1)
	asking.Go(func() {
		m, err := nc.RequestWithContext(ctx, bus.NodeSubject(q.Node, q.Call), q.Request)
		answers <- outcome{m, err}
	})
	asking.Go(func() {
		wait, done := context.WithTimeout(ctx, s.bounds.helloWait)
		defer done()
		_, err := nc.RequestWithContext(wait, bus.NodeHello(q.Node), nil)
		greetings <- err
	})
	for {
		select {
		case a := <-answers:
			switch {
			case a.err == nil:
				return a.m, nil
			case errors.Is(a.err, nats.ErrNoResponders):
				return nil, absent(q.Node)
			}
			return nil, bus.Errorf(bus.CodeTimeout, "%s is on the hub and does not answer", q.Node).WithHint("see its log; if it hangs, restart it")
		case err := <-greetings:
			if err != nil && ctx.Err() == nil {
				return nil, absent(q.Node)
			}
			greetings = nil
		}
	}
}

func absent(node string) *bus.Error {
	return bus.Errorf(bus.CodeNotFound, "%s is not on the hub", node).WithHint("`blufio nodes` lists those that are")
}

func answerOf(m *nats.Msg) bus.NodeAnswer {
	err := bus.ReplyError(m)
	var e *bus.Error
	switch {
	case errors.As(err, &e):
		return bus.NodeAnswer{Error: &bus.NodeError{Code: bus.Code(clean(string(e.Code))), Message: clean(e.Message), Hint: clean(e.Hint)}}
	case !json.Valid(m.Data):
		return bus.NodeAnswer{Error: &bus.NodeError{Code: bus.CodeInternal, Message: "the answer is not JSON"}}
	}
	return bus.NodeAnswer{Answer: m.Data}
}

// clean makes foreign text fit for one line.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > 300 {
		return string(runes[:300]) + "…"
	}
	return text
}

// list calls the roll: every daemon on the hub says that it is there, this one too, on
// the subject of its own name.
func (s *Service) list(ctx context.Context, _ bus.NodesQuery) (bus.Nodes, error) {
	nc, err := s.reach(true)
	if err != nil {
		return bus.Nodes{}, err
	}
	sub, err := nc.SubscribeSync(bus.NodeHere("*"))
	if err != nil {
		return bus.Nodes{}, fmt.Errorf("call the roll: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // it fails only with the connection
	if err := sub.SetPendingLimits(2*s.bounds.rollMost, maxRollBytes); err != nil {
		return bus.Nodes{}, fmt.Errorf("call the roll: %w", err)
	}
	if err := nc.Publish(bus.NodesHello, nil); err != nil {
		return bus.Nodes{}, fmt.Errorf("call the roll: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.bounds.rollWait)
	defer cancel()
	return s.gather(ctx, sub), nil
}

// gather reads answers until none has come for a while.
func (s *Service) gather(ctx context.Context, sub *nats.Subscription) bus.Nodes {
	r := roll{most: s.bounds.rollMost, seen: map[string]bool{}, Nodes: bus.Nodes{Self: s.name.node, Nodes: []bus.NodeRow{}}}
	quiet := time.Now().Add(s.bounds.rollQuiet)
	for {
		next, cancel := context.WithDeadline(ctx, quiet)
		m, err := sub.NextMsgWithContext(next)
		cancel()
		if errors.Is(err, nats.ErrSlowConsumer) {
			r.More = true
			continue
		}
		if err != nil {
			break
		}
		if fresh, full := r.add(bus.HereNode(m.Subject), m.Data); full {
			break
		} else if fresh {
			quiet = time.Now().Add(s.bounds.rollQuiet)
		}
	}
	slices.SortFunc(r.Nodes.Nodes, func(a, b bus.NodeRow) int {
		return strings.Compare(a.Node+"\x00"+a.ID, b.Node+"\x00"+b.ID)
	})
	return r.Nodes
}

// roll is a roll call half done.
type roll struct {
	bus.Nodes
	most  int
	bytes int
	seen  map[string]bool // by node and id
}

// add takes what the daemon of that name said, by the subject it said it on.
func (r *roll) add(node string, data []byte) (fresh, full bool) {
	row, ok := readRow(data)
	if !ok || row.Node != node || r.seen[row.Node+"."+row.ID] {
		return false, false
	}
	told, err := json.Marshal(row) // may be longer than what was heard
	if err != nil || len(r.Nodes.Nodes) == r.most || r.bytes+len(told) > maxRows {
		r.More = true
		return false, true
	}
	r.seen[row.Node+"."+row.ID] = true
	r.bytes += len(told) + 1
	r.Nodes.Nodes = append(r.Nodes.Nodes, row)
	return true, false
}

// readRow reads one answer to the roll call. Fields that no daemon would send are
// no answer.
func readRow(data []byte) (row bus.NodeRow, ok bool) {
	if len(data) > maxRow || json.Unmarshal(data, &row) != nil {
		return row, false
	}
	switch row.State {
	case bus.Healthy, bus.Degraded, bus.Stopped:
	default:
		return row, false
	}
	plain := func(s string) bool { return len(s) <= 64 && clean(s) == s }
	return row, bus.ValidToken(row.Node) && row.ID != "" && plain(row.ID) && plain(row.Version)
}
