// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/serve"
	"github.com/nats-io/nats.go"
)

// httpLane is the gateway.
type httpLane struct {
	speaker
	plan
	token string // issued with the first call; good across restarts
}

func (l *httpLane) send(ctx context.Context, n int, wait bool) (ack, error) {
	a := ack{Session: l.session(), N: n, Text: l.text(n)}
	path := "/v1/messages"
	if wait {
		path += "?wait=" + maxWaiting.String()
	}
	body, err := json.Marshal(map[string]string{"session": a.Session, "text": a.Text})
	if err != nil {
		return a, err
	}
	var got struct{ ID, Reply string }
	status, err := l.call(ctx, http.MethodPost, path, fmt.Sprintf("key-%d", n), body, &got)
	if err == nil && status != http.StatusOK && status != http.StatusAccepted {
		err = fmt.Errorf("message %d: HTTP %d", n, status)
	}
	a.ID, a.Reply = got.ID, got.Reply
	return a, err
}

// call makes one request. Without a whole answer, or with one that says to come
// back later, the error is errAway.
func (l *httpLane) call(ctx context.Context, method, path, key string, body []byte, into any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*maxWaiting)
	defer cancel()
	req, err := l.request(ctx, method, path, body)
	if err != nil {
		return 0, err
	}
	if key != "" {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errAway, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errAway, err)
	case resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusGatewayTimeout:
		return 0, fmt.Errorf("%w: HTTP %d: %s", errAway, resp.StatusCode, data)
	case resp.StatusCode >= http.StatusBadRequest:
		return resp.StatusCode, fmt.Errorf("%s %s: HTTP %d: %s", method, path, resp.StatusCode, data)
	}
	return resp.StatusCode, json.Unmarshal(data, into)
}

// request is addressed to where the daemon listens now.
func (l *httpLane) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	info, err := serve.ReadInfo(l.data())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAway, err)
	}
	if l.token == "" {
		t, err := ask(ctx, l.plan, bus.TokenIssue, bus.TokenRequest{Subject: l.owner(), Scopes: []string{"chat"}, Seconds: 7200, Rate: new(int64(0))})
		if err != nil {
			return nil, fmt.Errorf("issue token: %w", err)
		}
		l.token = t.Token
	}
	req, err := http.NewRequestWithContext(ctx, method, info.Gateway+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	return req, nil
}

// busLane is the bus, as the command line uses it.
type busLane struct {
	speaker
	plan
	conn *bus.Conn // nil when not connected
}

func (l *busLane) send(ctx context.Context, n int, wait bool) (ack, error) {
	a := ack{Session: l.session(), N: n, Text: l.text(n)}
	if l.conn == nil || l.conn.NATS().IsClosed() {
		c, err := dial(l.plan, bus.MessageReceive, bus.MessageGet)
		if err != nil {
			return a, err
		}
		l.conn = c
	}
	acc, err := bus.MessageReceive.Ask(ctx, l.conn, bus.Message{Channel: terminal, Owner: l.owner(), Session: a.Session,
		Text: a.Text, ExternalID: fmt.Sprintf("%s/key-%d", l.owner(), n)})
	if err != nil {
		return a, passing(err)
	}
	a.ID = acc.ID
	if wait {
		a.Reply = l.await(ctx, a.ID)
	}
	return a, nil
}

// await asks until there is a reply. It gives up when the daemon goes away: the
// message is acknowledged already.
func (l *busLane) await(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, maxWaiting)
	defer cancel()
	for ctx.Err() == nil {
		m, err := bus.MessageGet.Ask(ctx, l.conn, bus.MessageQuery{ID: id, Owner: l.owner()})
		if err != nil || m.Reply != "" {
			return m.Reply
		}
		select {
		case <-time.After(tryAgain):
		case <-ctx.Done():
		}
	}
	return ""
}

// passing marks errors that go with a daemon that is killed or starting.
func passing(err error) error {
	switch code := bus.CodeOf(err); code {
	case bus.CodeBusy, bus.CodeUnavailable, bus.CodeTimeout:
		return fmt.Errorf("%w: %w", errAway, err)
	}
	return err
}

// dial connects to the running daemon as its operator.
func dial(p plan, says ...bus.Lane) (*bus.Conn, error) {
	info, err := serve.ReadInfo(p.data())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAway, err)
	}
	device, err := embedded.LoadDevice(p.data())
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(info.Bus, device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox),
		nats.Timeout(2*time.Second), nats.NoReconnect())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAway, err)
	}
	return bus.NewConn(nc, bus.Options{Name: "cli", Says: says, Logger: slog.New(slog.DiscardHandler)}), nil
}

// ask asks the daemon one question. The error is errAway when it may be asked again.
func ask[T, R any](ctx context.Context, p plan, lane bus.Call[T, R], req T) (R, error) {
	var none R
	c, err := dial(p, lane)
	if err != nil {
		return none, err
	}
	defer c.NATS().Close()
	answer, err := lane.Ask(ctx, c, req)
	if err != nil {
		return none, passing(err)
	}
	return answer, nil
}
