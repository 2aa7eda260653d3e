// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
)

// heardEvents bounds the live events that wait to be printed. Of those that find no
// room the stream has a copy.
const heardEvents = 4096

// tail prints events in the order of their positions: replayed from the stream, then
// live, without a hole or a repetition between the two.
type tail struct {
	app     *app
	pattern bus.Pattern
	follow  bool
	replay  bool
	since   *time.Time

	last  int64  // position printed or passed over last; 0: none yet
	epoch string // of last
}

// session replays and follows on one connection. It is nil when the connection has
// ended, or when there is nothing to follow.
func (t *tail) session(ctx context.Context) error {
	c, err := t.app.dial(bus.EventsRead)
	if err != nil {
		return err
	}
	defer hangUp(ctx, c)
	heard := make(chan *nats.Msg, heardEvents)
	if t.follow { // before the replay, so that nothing falls between
		if _, err := c.NATS().ChanSubscribe(bus.Facts, heard); err != nil {
			return err
		}
		if err := c.NATS().FlushTimeout(connectTimeout); err != nil {
			return err
		}
	}
	if t.replay {
		if err := t.catchUp(ctx, c, 0); err != nil {
			return err
		}
	}
	for t.follow {
		select {
		case m := <-heard:
			if err := t.live(ctx, c, m); err != nil {
				return err
			}
		case <-c.Closed():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// catchUp prints what the stream holds behind t.last, up to the position before; 0 is
// all there is.
func (t *tail) catchUp(ctx context.Context, c *bus.Conn, before int64) error {
	for {
		q := bus.EventQuery{After: t.last, Limit: 500}
		if t.last == 0 {
			q.Since = t.since
		}
		p, err := bus.EventsRead.Ask(ctx, c, q)
		if err != nil {
			return err
		}
		if t.epoch != "" && p.Epoch != t.epoch {
			t.app.note("the daemon has another database now; its events count anew")
			t.last, t.epoch = 0, ""
			continue
		}
		t.epoch = p.Epoch
		if q.Since == nil && p.First > 0 {
			if err := t.gap(t.last+1, p.First-1); err != nil {
				return err
			}
		}
		for _, e := range p.Events {
			if before > 0 && e.Position >= before {
				return nil
			}
			if err := t.step(e); err != nil {
				return err
			}
		}
		t.last = max(t.last, p.Last)
		if !p.More {
			return nil
		}
	}
}

// live prints an event that was just heard, after those that were missed before it.
func (t *tail) live(ctx context.Context, c *bus.Conn, m *nats.Msg) error {
	position, err := strconv.ParseInt(m.Header.Get(bus.HeaderSeq), 10, 64)
	if err != nil {
		return nil // not from the relay
	}
	epoch := m.Header.Get(bus.HeaderEpoch)
	if t.epoch != "" && epoch != t.epoch {
		t.last = 0
	}
	t.epoch = epoch
	if t.last > 0 && position > t.last+1 {
		if err := t.catchUp(ctx, c, position); err != nil {
			return err
		}
	}
	if t.last > 0 && position <= t.last {
		return nil
	}
	return t.step(bus.EventRecord{Position: position, Time: t.app.now().UTC().Truncate(time.Millisecond),
		Event: strings.TrimPrefix(m.Subject, bus.Prefix), Payload: m.Data})
}

// step prints one event and says so if some are missing before it.
func (t *tail) step(e bus.EventRecord) error {
	if t.last > 0 {
		if err := t.gap(t.last+1, e.Position-1); err != nil {
			return err
		}
	}
	t.last = e.Position
	return t.show(e)
}

// eventName colours a name by what it means for the owner.
func eventName(u ui, name string) string {
	padded := fmt.Sprintf("%-20s", name)
	for _, bad := range []string{"failed", "died", "denied", "exhausted", "gap"} {
		if strings.HasSuffix(name, bad) {
			return u.red(padded)
		}
	}
	for _, odd := range []string{"warned", "pressure", "interrupted", "restarted", "changed", "stopping"} {
		if strings.HasSuffix(name, odd) {
			return u.yellow(padded)
		}
	}
	return u.green(padded)
}

// eventDetails writes a payload's plain fields as key=value, in their order.
func eventDetails(payload json.RawMessage) string {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return string(payload)
	}
	var out []string
	for d.More() {
		key, err := d.Token()
		if err != nil {
			break
		}
		var value any
		if err := d.Decode(&value); err != nil {
			break
		}
		if text := detail(fmt.Sprint(key), value); text != "" {
			out = append(out, text)
		}
	}
	return strings.Join(out, " ")
}

// detail is one field in a human way; "" for what a line has no place for.
func detail(key string, value any) string {
	number, isNumber := value.(json.Number)
	n, err := number.Int64()
	switch v := value.(type) {
	case map[string]any, []any, nil:
		return ""
	case string:
		if key == "time" || v == "" {
			return ""
		}
		if strings.ContainsAny(v, " \t\n") {
			return key + "=" + strconv.Quote(v)
		}
		return key + "=" + v
	case bool:
		return key + "=" + strconv.FormatBool(v)
	}
	if !isNumber || err != nil {
		return key + "=" + fmt.Sprint(value)
	}
	switch {
	case strings.HasSuffix(key, "_microusd"):
		return strings.TrimSuffix(key, "_microusd") + "=" + bus.MicroUSD(n).String()
	case strings.HasSuffix(key, "_ms"):
		return strings.TrimSuffix(key, "_ms") + "=" + (time.Duration(n) * time.Millisecond).String()
	case strings.HasSuffix(key, "bytes"):
		return key + "=" + strings.ReplaceAll(size(n), " ", "")
	}
	return key + "=" + strconv.FormatInt(n, 10)
}
