// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/blufio/blufio/bus"
)

// maxSends bounds the replies that are delivered at once.
const maxSends = 32

// deliver sends a reply, or makes the message that was shown of it what the reply
// says. What an earlier delivery has sent is not sent again.
func (s *Service) deliver(ctx context.Context, r bus.Reply) (bus.Receipt, error) {
	if s.cfg.BotToken.IsZero() {
		return bus.Receipt{}, bus.Errorf(bus.CodeUnavailable, "telegram is off: telegram.bot_token is not set")
	}
	if !s.claim(r.Key) {
		return bus.Receipt{}, bus.Errorf(bus.CodeBusy, "this reply is being delivered")
	}
	defer s.unclaim(r.Key)
	s.typing.end(r.MessageID)
	shown, err := s.endDraft(ctx, r.MessageID)
	if err != nil {
		return bus.Receipt{}, refusalOf(err)
	}
	if err := s.catchUp(ctx); err != nil {
		return bus.Receipt{}, refusalOf(err)
	}
	p, err := s.moved.place(r.Owner, r.Session)
	if err != nil {
		return bus.Receipt{}, bus.Errorf(bus.CodeDenied, "%v", err)
	}
	id, err := s.sendReply(ctx, p, r, shown)
	if err != nil {
		if ctx.Err() == nil {
			s.evidence.note(err)
		}
		return bus.Receipt{}, refusalOf(err)
	}
	return bus.Receipt{ExternalID: fmt.Sprintf("%d:%d", p.Chat, id)}, nil
}

func (s *Service) claim(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[key] {
		return false
	}
	s.busy[key] = true
	return true
}

func (s *Service) unclaim(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, key)
}

// sendReply brings every part to its last state and returns the last one's id.
func (s *Service) sendReply(ctx context.Context, p place, r bus.Reply, shown []string) (last int64, err error) {
	was := p.Chat
	defer func() { s.learn(ctx, was, p.Chat) }()
	if err := s.adopt(ctx, r); err != nil {
		return 0, err
	}
	have, err := s.sent(ctx, r.Key)
	if err != nil {
		return 0, err
	}
	parts := messages(r.Text)
	for n, part := range parts {
		was, known := have[n]
		if known && was.final {
			last = was.id
			continue
		}
		if known && !(n < len(shown) && shown[n] == part.html()) {
			err := s.paced(ctx, &p, func(ctx context.Context) error { return s.edit(ctx, p.Chat, was.id, part) })
			if gone(err) {
				known = false
			} else if err != nil {
				return 0, err
			}
		}
		if !known {
			err := s.paced(ctx, &p, func(ctx context.Context) (err error) { was.id, err = s.send(ctx, p, part); return err })
			if err != nil {
				return 0, err
			}
		}
		if err := s.record(ctx, r.Key, n, sentPart{was.id, true}); err != nil {
			return 0, err
		}
		last = was.id
	}
	return last, s.clearRest(ctx, &p, r.Key, have, len(parts))
}

// clearRest deletes messages that were shown while the answer was longer. One that
// Telegram will never delete stays.
func (s *Service) clearRest(ctx context.Context, p *place, key string, have map[int]sentPart, parts int) error {
	for n, was := range have {
		if n < parts || was.final {
			continue
		}
		err := s.paced(ctx, p, func(ctx context.Context) error {
			return s.api.call(ctx, "deleteMessage", deleting{p.Chat, was.id}, nil)
		})
		if err != nil && !final(err) {
			return err
		}
		if err := s.forget(ctx, key, n); err != nil {
			return err
		}
	}
	return nil
}

// paced makes a request when its chat may have one, and again when Telegram says
// that it was too early or that the chat has moved. The request itself is not cut off by
// ctx.
func (s *Service) paced(ctx context.Context, p *place, request func(context.Context) error) error {
	for {
		wait := s.pace.wait(p.Chat)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait+s.pauses.margin {
			return &bus.Error{Code: bus.CodeBusy, Message: "Telegram wants fewer messages", RetryAfter: max(wait, s.pauses.first)}
		}
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
		err := request(context.WithoutCancel(ctx))
		var e *apiError
		switch {
		case !errors.As(err, &e):
			return err
		case e.code == http.StatusTooManyRequests:
			s.limited(p.Chat, e)
		case e.migrateTo != 0 && e.migrateTo != p.Chat:
			p.Chat = e.migrateTo
		case p.Thread != 0 && says(err, "message thread not found"):
			p.Thread = 0 // the topic was deleted: better beside it than not at all
		default:
			return err
		}
	}
}

var noPreview = &linkPreview{Disabled: true}

// send sends one message; as plain text if Telegram cannot read its tags.
func (s *Service) send(ctx context.Context, p place, part runs) (int64, error) {
	var got message
	err := s.api.call(ctx, "sendMessage", outgoing{place: p, Text: part.html(), ParseMode: "HTML", Preview: noPreview}, &got)
	if unread(err) {
		s.metrics.plain.Inc()
		err = s.api.call(ctx, "sendMessage", outgoing{place: p, Text: part.plain(), Preview: noPreview}, &got)
	}
	return got.ID, err
}

// edit makes a message say something else.
func (s *Service) edit(ctx context.Context, chat, id int64, part runs) error {
	err := s.api.call(ctx, "editMessageText", editing{Chat: chat, Message: id, Text: part.html(), ParseMode: "HTML", Preview: noPreview}, nil)
	if unread(err) {
		s.metrics.plain.Inc()
		err = s.api.call(ctx, "editMessageText", editing{Chat: chat, Message: id, Text: part.plain(), Preview: noPreview}, nil)
	}
	if says(err, "message is not modified") {
		return nil
	}
	return err
}

func unread(err error) bool { return says(err, "can't parse entities", "can't find end") }

// gone means that a message cannot be edited any more.
func gone(err error) bool {
	return says(err, "message to edit not found", "message can't be edited", "MESSAGE_ID_INVALID")
}

// deniedWords are in the refusals that no later try changes. Telegram answers them with
// 400, and lists them nowhere; those in capitals are of its own protocol
// (https://core.telegram.org/method/messages.sendMessage).
var deniedWords = []string{"chat not found", "user not found", "user is deactivated", "group chat was deactivated", "not enough rights", "have no rights",
	"bot was kicked", "bot was blocked", "bot is not a member", "message text is empty", "TOPIC_CLOSED", "CHAT_WRITE_FORBIDDEN", "CHAT_RESTRICTED",
	"CHAT_SEND_PLAIN_FORBIDDEN", "CHAT_ADMIN_REQUIRED", "PEER_ID_INVALID", "USER_IS_BLOCKED", "INPUT_USER_DEACTIVATED"}

// refusalOf says to the agent whether to try again.
func refusalOf(err error) error {
	var coded *bus.Error
	switch code := codeOf(err); {
	case errors.As(err, &coded):
		return coded
	case code == http.StatusForbidden, says(err, deniedWords...):
		return bus.Errorf(bus.CodeDenied, "%v", err)
	case code == http.StatusBadRequest:
		return bus.Errorf(bus.CodeInvalid, "%v", err)
	case errors.Is(err, context.Canceled):
		return bus.Errorf(bus.CodeUnavailable, "telegram is stopping")
	}
	return bus.Errorf(bus.CodeUnavailable, "%v", err)
}

// final means that Telegram will say the same next time.
func final(err error) bool {
	code := codeOf(err)
	return code == http.StatusBadRequest || code == http.StatusForbidden
}

// tell says something of the room's own, if that can be soon.
func (s *Service) tell(ctx context.Context, p place, text string) {
	ctx, cancel := context.WithTimeout(ctx, 4*s.pauses.margin)
	defer cancel()
	if err := s.say(ctx, p, text); err != nil {
		s.log.Warn("a person was not told", "err", err)
	}
}

// say says something of the room's own until it is said or never can be. Other than a
// reply, it does not hold up the room's end: it is said again, or need not be.
func (s *Service) say(ctx context.Context, p place, text string) error {
	life := s.lifetime()
	for _, part := range split(text, maxUnits) {
		for try := 1; ; try++ {
			err := s.paced(ctx, &p, func(ctx context.Context) error {
				return outliving(ctx, life, func(ctx context.Context) error { _, err := s.send(ctx, p, part); return err })
			})
			if err == nil {
				break
			}
			var soon *bus.Error
			if final(err) || errors.As(err, &soon) {
				return err
			}
			wait := doubled(s.pauses.first, try, s.pauses.most)
			s.log.Warn("message of the room's own not sent, trying again", "try", try, "wait", wait.String(), "err", err)
			if !sleep(ctx, wait) {
				return err
			}
		}
	}
	return nil
}
