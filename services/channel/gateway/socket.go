// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/coder/websocket"
)

const (
	maxInFlight  = 16              // messages of one socket without a reply
	maxPieces    = 32              // partial texts of one message that wait for a slow client; more are lost
	farewellTime = time.Second     // for a client to say goodbye as well
	handTime     = 2 * time.Second // for the agent to store a message; less than the drain
)

// socket is one client's WebSocket.
type socket struct {
	*front
	r    *request
	ws   *websocket.Conn
	work sync.WaitGroup // one for each message under way, and the pinger

	mu       sync.Mutex
	inFlight map[string]struct{} // ids of the client
}

// getSocket speaks with a client until it leaves or the gateway stops.
func (f *front) getSocket(w http.ResponseWriter, r *request) error {
	leave, err := f.enterStream()
	if err != nil {
		return err
	}
	defer leave()
	if r.Method != http.MethodGet || r.Header.Get("Sec-WebSocket-Key") == "" {
		w.Header().Set("Upgrade", "websocket")
		return &refusal{status: http.StatusUpgradeRequired, code: bus.CodeInvalid,
			message: "this is a WebSocket", hint: "connect with ws:// or wss://, or POST to /v1/messages"}
	}
	conn, err := websocket.Accept(w, r.Request, &websocket.AcceptOptions{
		Subprotocols:       []string{protocol}, // never the one with the token
		InsecureSkipVerify: true,               // the guard has looked at the origin
	})
	if err != nil { // answered already
		f.log.Debug("no socket", "trace", r.trace, "err", err)
		return nil
	}
	conn.SetReadLimit(int64(f.live.Load().MaxBodyBytes))
	s := &socket{front: f, r: r, ws: conn, inFlight: map[string]struct{}{}}
	// The request's own context says nothing of a connection that was taken over.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	s.run(ctx, cancel)
	return nil
}

// run reads frames until the socket ends. cancel tears the connection down.
func (s *socket) run(ctx context.Context, cancel context.CancelFunc) {
	gone := make(chan struct{})
	s.work.Go(func() { s.watch(ctx, cancel, gone) })
	for {
		kind, data, err := s.ws.Read(ctx)
		if err != nil {
			break // the client has left, sent too much, or was told to go
		}
		if err := s.admit(); err != nil {
			f, _ := decodeFrame(data) // for its id
			s.send(ctx, errorFrame(f.ID, "", err, s.r.trace))
			continue
		}
		if kind != websocket.MessageText {
			s.send(ctx, errorFrame("", "", invalid("send JSON as text", "the frame is not text"), s.r.trace))
			continue
		}
		select {
		case s.bodies <- struct{}{}:
			s.take(ctx, data, sync.OnceFunc(func() { <-s.bodies }))
		case <-ctx.Done():
		}
	}
	close(gone)
	cancel() // messages under way are the agent's now: their replies are fetched with GET
	s.work.Wait()
	_ = s.ws.CloseNow() // it is closed already, unless the reading failed
}

// admit counts one frame. One that comes while its client is being sent away is
// refused.
func (s *socket) admit() error {
	if closed(s.r.pass.over) {
		return s.farewell(s.r.pass)
	}
	return s.pace(s.r.pass)
}

// watch finds out that the client has gone, and sends it away at the end.
func (s *socket) watch(ctx context.Context, cancel context.CancelFunc, gone <-chan struct{}) {
	tick := time.NewTicker(s.every.ping)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
			if err := s.ping(ctx); err != nil {
				cancel()
				return
			}
		case <-s.r.pass.over:
			s.dismiss(cancel, websocket.StatusPolicyViolation, s.farewell(s.r.pass).message)
			return
		case <-s.draining:
			s.dismiss(cancel, websocket.StatusGoingAway, "the gateway is stopping")
			return
		}
	}
}

// dismiss tells the client to go, and sees that it does.
func (s *socket) dismiss(cancel context.CancelFunc, code websocket.StatusCode, why string) {
	impatient := time.AfterFunc(farewellTime, cancel)
	defer impatient.Stop()
	_ = s.ws.Close(code, why) // that it ends is all there is to know
	cancel()
}

func (s *socket) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.WriteTimeout)
	defer cancel()
	return s.ws.Ping(ctx)
}

// send writes one frame. A client that does not take it in time is cut off: the
// reader hears of it.
func (s *socket) send(ctx context.Context, f serverFrame) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.WriteTimeout)
	defer cancel()
	data, err := json.Marshal(f)
	if err == nil {
		err = s.ws.Write(ctx, websocket.MessageText, data)
	}
	if err != nil {
		s.log.Debug("frame not sent", "trace", s.r.trace, "err", err)
	}
}

// take looks at one frame of the client. Messages go their ways side by side. leave
// gives back the slot of the frame, and may be called twice.
func (s *socket) take(ctx context.Context, data []byte, leave func()) {
	c, err := decodeFrame(data)
	if err == nil && c.Type == framePing {
		leave() // before the client takes its time
		s.send(ctx, serverFrame{Type: framePong, ID: c.ID})
		return
	}
	m := bus.Message{Channel: name, Owner: s.r.subject, Session: c.Session, Text: c.Text}
	if err == nil && c.Key != "" {
		m.ExternalID, err = externalID(s.r.subject, []string{c.Key})
	}
	if err == nil {
		err = s.enter(c.ID)
	}
	if err != nil {
		leave()
		s.send(ctx, errorFrame(c.ID, "", err, s.r.trace))
		return
	}
	id := c.ID
	s.work.Go(func() {
		defer s.exit(id)
		defer leave()
		s.converse(ctx, id, &m, leave)
	})
}

func (s *socket) enter(id string) error {
	select {
	case <-s.draining: // it would outlive the drain
		return stopping()
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.inFlight[id]; known {
		return bus.Errorf(bus.CodeConflict, "a message with the id %q has no reply yet", shorten(id)).WithHint("use another id")
	}
	if len(s.inFlight) >= maxInFlight {
		return bus.Errorf(bus.CodeBusy, "%d messages of this socket have no reply yet", maxInFlight).WithHint("wait for one")
	}
	s.inFlight[id] = struct{}{}
	s.meter.messages.Add(1)
	return nil
}

func (s *socket) exit(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inFlight, id)
	s.meter.messages.Add(-1)
}

// converse sees one message through to its reply. The text is dropped, and leave
// called, when it is handed over.
func (s *socket) converse(ctx context.Context, id string, m *bus.Message, leave func()) {
	pieces := make(chan bus.Delta, maxPieces)
	w, ok := s.waiters.reserve(m.Owner, func(d bus.Delta) {
		select {
		case pieces <- d:
		default: // the reply has it all
		}
	})
	if !ok {
		s.send(ctx, errorFrame(id, "", bus.Errorf(bus.CodeBusy, "%d requests wait for replies", s.cfg.MaxWaiters).WithHint("try again"), s.r.trace))
		return
	}
	defer s.waiters.leave(w)
	acc, err := s.hand(ctx, *m)
	m.Text = ""
	leave()
	if err != nil {
		s.send(ctx, errorFrame(id, "", err, s.r.trace))
		return
	}
	s.evidence.succeeded(s.now())
	s.send(ctx, serverFrame{Type: frameAccepted, ID: id, Message: acc.ID, Session: acc.Session})
	s.waiters.name(w, acc.ID)
	rec, err := bus.MessageGet.Ask(ctx, s.conn, bus.MessageQuery{ID: acc.ID, Owner: m.Owner})
	if err == nil && final(rec.State) {
		s.reply(ctx, id, replyOf(rec))
		return
	}
	s.follow(ctx, id, w, pieces)
}

// hand gives a message to the agent. It was read: a client that leaves does not
// undo it.
func (s *socket) hand(ctx context.Context, m bus.Message) (bus.Accepted, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handTime)
	defer cancel()
	return bus.MessageReceive.Ask(ctx, s.conn, m)
}

// follow passes on partial text until the reply is there.
func (s *socket) follow(ctx context.Context, id string, w *waiter, pieces <-chan bus.Delta) {
	timer := time.NewTimer(s.cfg.MaxAnswer)
	defer timer.Stop()
	for {
		select {
		case d := <-pieces:
			s.send(ctx, deltaFrame(id, d))
		case reply := <-w.reply:
			s.reply(ctx, id, reply)
			return
		case <-timer.C:
			late := bus.Errorf(bus.CodeTimeout, "there is no reply yet").WithHint("it will be at /v1/messages/%s; gateway.max_answer is the limit", w.id)
			s.send(ctx, errorFrame(id, w.id, late, s.r.trace))
			return
		case <-ctx.Done():
			return
		}
	}
}

func (s *socket) reply(ctx context.Context, id string, r bus.Reply) {
	s.send(ctx, serverFrame{Type: frameReply, ID: id, Message: r.MessageID, Session: r.Session, State: r.State, Text: &r.Text})
}
