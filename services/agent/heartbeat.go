// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/offline"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/nats-io/nuid"
)

// Heartbeat is the section [heartbeat]: now and then the agent looks by itself
// whether there is something to say. It is off unless every is set, and without a model.
//
// A look is a turn of the person's session, asked of one cheap model. It is left
// out when nothing has changed since the last one: no message, and not the
// prompt. When the model has nothing to say, or the look fails, nobody hears of it.
type Heartbeat struct {
	Every      time.Duration `koanf:"every" min:"0s" max:"30d" doc:"How often to look; 0s is never, else at least 5m."`
	Channel    string        `koanf:"channel" doc:"Channel of the person to look for: \"telegram\", \"terminal\" or \"gateway\"."`
	Owner      string        `koanf:"owner" doc:"Who that is there: a chat's id on telegram, \"owner\" in the terminal, a token's subject at the gateway."`
	Session    string        `koanf:"session" doc:"Conversation to look at and to speak in; empty is the main one."`
	Prompt     string        `koanf:"prompt" doc:"What to look for; empty is the built-in text."`
	Model      string        `koanf:"model" doc:"Model to ask, as \"provider/model\"; empty is routing.simple, or else the first of agent.provider."`
	MonthlyUSD float64       `koanf:"monthly_usd" min:"0.000001" max:"1000000" doc:"Most that all looks may cost in a calendar month, in US dollars, within the budgets of [cost]."`
}

// HeartbeatDefaults are the settings of a fresh install: off.
func HeartbeatDefaults() Heartbeat { return Heartbeat{MonthlyUSD: 1} }

const leastEvery = 5 * time.Minute

// Check reports what no bound of a single key can say.
func (h Heartbeat) Check(report func(key, message, hint string)) {
	if h.Every == 0 {
		return
	}
	if h.Every < leastEvery {
		report("every", fmt.Sprintf("%s is too often", h.Every), "at least 5m, or 0s for never")
	}
	if channels := ownChannels(); !slices.Contains(channels, h.Channel) {
		report("channel", fmt.Sprintf("%q is no channel", h.Channel), "use "+strings.Join(channels, ", "))
	}
	if h.Owner == "" || len(h.Owner) > maxOwner || !printable(h.Owner) {
		report("owner", "it is not said for whom to look", "set it to the chat's id on telegram, or the token's subject at the gateway")
	}
	if len(h.Session) > maxSessionName || !printable(h.Session) {
		report("session", "it is no name of a conversation", "")
	}
}

// purposeHeartbeat is what looks are booked as, their rounds with tools included.
const purposeHeartbeat = "heartbeat"

// nothing is what the model says when there is nothing to say.
const nothing = "NOTHING"

func (h Heartbeat) text() string {
	prompt := h.Prompt
	if prompt == "" {
		prompt = "Is there something that the person would want to hear now: a note that has come due, a promise of yours, something left open?"
	}
	return "[a scheduled look; nobody wrote this]\n" + prompt + "\nIf there is nothing to say, answer with the one word " + nothing + "."
}

func (h Heartbeat) key() sessionKey {
	name := h.Session
	if name == "" {
		name = defaultSession
	}
	return sessionKey{h.Channel, h.Owner, name}
}

// runHeartbeat looks when it is time, until ctx ends.
func (s *Service) runHeartbeat(ctx context.Context) error {
	if s.heartbeat.Every == 0 || s.models.heartbeat().Provider.Name() == offline.Name {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(s.pauses.heartbeat)
	defer tick.Stop()
	for {
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("heartbeat left out", "service", "agent", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look hands the agent a message of its own if it is time and something changed.
func (s *Service) look(ctx context.Context) error {
	now, key := s.now(), s.heartbeat.key()
	var last int64
	var seen string
	if err := s.store.QueryRow(ctx, `SELECT heartbeat_at, heartbeat_mark FROM agent_state`).Scan(&last, &seen); err != nil {
		return fmt.Errorf("read last heartbeat: %w", err)
	}
	if at := time.UnixMilli(last); last > 0 && now.Sub(at) < s.heartbeat.Every && !at.After(now) {
		return nil
	}
	mark, err := s.changes(ctx, key)
	if err != nil {
		return err
	}
	if last == 0 || mark == seen { // at the first start there is nothing to look back on
		s.metrics.heartbeats.WithLabelValues("skipped").Inc()
		return s.store.Write(ctx, func(tx *sqlite.Tx) error { return noteLook(tx, now, seen) })
	}
	if s.queue.state(key) != "idle" {
		return nil // it is being spoken there; the next minute will do
	}
	if err := s.checkMemory(ctx, key); err != nil {
		return err
	}
	if err := s.queue.admit(key, 0); err != nil {
		return err
	}
	err = s.store.Write(ctx, func(tx *sqlite.Tx) error {
		m := bus.Message{Channel: key.channel, Owner: key.owner, Session: key.name, Text: s.heartbeat.text()}
		seq, err := insertMessage(tx, m, nuid.Next(), now)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE message SET purpose = ? WHERE seq = ?`, purposeHeartbeat, seq); err != nil {
			return err
		}
		tx.AfterCommit(func() {
			s.metrics.heartbeats.WithLabelValues("looked").Inc()
			s.queue.add(key, seq, now)
		})
		return noteLook(tx, now, mark)
	})
	if err != nil {
		s.queue.withdraw(key)
		return fmt.Errorf("store heartbeat: %w", err)
	}
	return nil
}

func noteLook(tx *sqlite.Tx, now time.Time, mark string) error {
	_, err := tx.Exec(`UPDATE agent_state SET heartbeat_at = ?, heartbeat_mark = ?`, now, mark)
	return err
}

// changes sums up what a look rests on: two alike have nothing new between them.
func (s *Service) changes(ctx context.Context, key sessionKey) (string, error) {
	var newest int64
	err := s.store.QueryRow(ctx, `SELECT coalesce(max(m.seq), 0) FROM message m JOIN session s ON s.id = m.session_id
		WHERE s.channel = ? AND s.owner = ? AND m.purpose <> ?`, key.channel, key.owner, purposeHeartbeat).Scan(&newest)
	if err != nil {
		return "", fmt.Errorf("read what changed: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", newest, s.heartbeat.text()))
	return hex.EncodeToString(sum[:8]), nil
}

// hush makes a look that has nothing to say, or failed, one that nobody hears of.
func (t *turn) hush(out outcome) outcome {
	if t.purpose != purposeHeartbeat {
		return out
	}
	said := strings.Trim(strings.TrimSpace(out.text), ".!\"'`*")
	if out.state != bus.StateAnswered || strings.EqualFold(said, nothing) {
		out.quiet, out.aside = true, true
	}
	return out
}
