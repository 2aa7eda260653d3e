// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	maxChats    = 8              // handed over at once
	maxDefects  = 10             // times that an update is tried which the agent, or the store of files, fails on
	maxFetches  = 5              // times that a file is tried to be fetched
	offsetStart = 0              // Telegram itself knows what was confirmed
	keptUpdates = 24 * time.Hour // at Telegram, when nobody asks for them
	quickPage   = time.Second    // an answer without an update is not expected sooner
)

// pollAs asks for updates of one bot until ctx ends. A page is confirmed, by asking for what
// comes behind it, only when all of it is taken or refused.
func (s *Service) pollAs(ctx context.Context) error {
	var offset int64 = offsetStart
	answered := s.now()
	for failures := 0; ctx.Err() == nil; {
		asked := s.now()
		if asked.Sub(answered) >= keptUpdates {
			offset = offsetStart // what it would confirm is gone
		}
		page, err := s.page(ctx, offset, failures == 0)
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			failures++
			s.evidence.failed(err)
			wait := s.pollPause(err, failures)
			s.log.Warn("poll failed, trying again", "wait", wait.String(), "err", err)
			sleep(ctx, wait)
			continue
		}
		failures = 0
		s.evidence.succeeded()
		answered = s.now()
		last, ok := s.takePage(ctx, page)
		if ok && last > 0 {
			failpoint.Hit("telegram.page-taken")
		}
		next, progress := behind(offset, last, len(page), ok)
		if !progress || len(page) == 0 && answered.Sub(asked) < quickPage {
			sleep(ctx, s.pauses.first)
		}
		offset = next
	}
	return nil
}

// behind is the offset to ask for after a page; without progress, the same updates may
// come again. Telegram chooses the next id at random when there was no update for a week
// (https://core.telegram.org/bots/api#update), also a lower one, and an offset
// confirms all that is lower. So it is kept only until it has confirmed what it
// was for.
func behind(offset, last int64, updates int, taken bool) (next int64, progress bool) {
	switch {
	case updates == 0:
		return offsetStart, true
	case !taken || last <= 0:
		return offset, false
	}
	return last + 1, last >= offset
}

// page asks once. Before the first time it asks who the bot is. A patient question is
// held by Telegram while there is nothing; after a failure nobody wants to wait for
// the news that it is back.
func (s *Service) page(ctx context.Context, offset int64, patient bool) (page []json.RawMessage, err error) {
	if s.self().ID == 0 {
		var me user
		if err := s.polled.call(ctx, "getMe", struct{}{}, &me); err != nil {
			return nil, err
		}
		if err := s.meet(ctx, me); err != nil {
			return nil, err
		}
	}
	hold := 0
	if patient {
		hold = int(s.cfg.PollTimeout / time.Second)
	}
	err = s.polled.call(ctx, "getUpdates", getUpdates{Offset: offset, Limit: pageLength, Timeout: hold, Allowed: []string{"message", "edited_message"}}, &page)
	return page, err
}

func (s *Service) self() user {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.me
}

func (s *Service) pollPause(err error, failures int) time.Duration {
	wait := doubled(s.pauses.first, failures, s.pauses.most)
	var e *apiError
	if errors.As(err, &e) {
		wait = max(wait, e.retryAfter)
		if rejectsToken(err) {
			wait = max(wait, s.pauses.token)
		}
	}
	return wait
}

// takePage hands the updates over: those of one chat one after another, chats side
// by side. It is false when the page has to come again: ctx ended before all were
// done, or the disk is full.
func (s *Service) takePage(ctx context.Context, page []json.RawMessage) (last int64, done bool) {
	chats := map[int64][]update{}
	for _, data := range page {
		u, err := decodeUpdate(data)
		if err != nil {
			s.metrics.updates.WithLabelValues("undecodable").Inc()
			s.log.Error("an update is not understood and left out", "update", u.ID, "err", err)
		}
		last = max(last, u.ID)
		m := cmp.Or(u.Message, u.Edited)
		if m == nil {
			continue
		}
		if err := s.noteMove(ctx, m); err != nil { // before anybody speaks under the new id
			s.log.Error("updates wait", "err", err)
			return last, false
		}
		chats[m.Chat.ID] = append(chats[m.Chat.ID], u)
	}
	var loops []func(context.Context) error
	for _, us := range chats {
		loops = append(loops, func(ctx context.Context) error {
			select {
			case s.handing <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			defer func() { <-s.handing }()
			for _, u := range us {
				if err := s.takeSafely(ctx, u); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return last, services.Work(ctx, loops...) == nil && ctx.Err() == nil
}

// takeSafely: a defect in reading one update must not stop all that follow.
func (s *Service) takeSafely(ctx context.Context, u update) error {
	err := services.Contain(func() error { return s.take(ctx, u) })
	if err != nil && ctx.Err() == nil {
		s.metrics.updates.WithLabelValues("failed").Inc()
		s.log.Error("an update could not be handled and is left out", "update", u.ID, "err", err)
		return nil
	}
	return err
}

// take hands one update over, or refuses it. An error means that ctx ended.
func (s *Service) take(ctx context.Context, u update) error {
	in := read(u, s.self(), s.cfg.MaxFileBytes)
	in.message.ExternalID = s.ofBot(in.message.ExternalID)
	switch {
	case in.ignored:
		s.metrics.updates.WithLabelValues("ignored").Inc()
		return ctx.Err()
	case !s.permits(in.from):
		s.turnAway(ctx, in)
		return ctx.Err()
	case in.refusal != "":
		return s.refuse(ctx, in, in.refusal)
	}
	if in.file != nil {
		refusal, err := s.fetch(ctx, &in)
		if err != nil {
			return err
		}
		if refusal != "" {
			return s.refuse(ctx, in, refusal)
		}
	}
	in.message.Owner = s.moved.owner(in.place.Chat)
	return s.handOver(ctx, in)
}

// turnAway is for those who are not on the list.
func (s *Service) turnAway(ctx context.Context, in incoming) {
	s.metrics.updates.WithLabelValues("denied").Inc()
	s.denied()
	m := in.from
	if m.From == nil || m.From.IsBot || !s.allow.tell(m.From.ID) {
		return
	}
	s.tell(ctx, in.place, stranger(m.From.ID))
}

// refuse tells a person why a message is not taken. It comes to an end when that is
// told, or Telegram never will.
func (s *Service) refuse(ctx context.Context, in incoming, why string) error {
	err := s.say(ctx, in.place, why)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		s.log.Warn("a person cannot be told why a message was not taken", "update", in.message.ExternalID, "err", err)
	}
	s.metrics.updates.WithLabelValues("refused").Inc()
	return nil
}

// handOver gives the message to the agent until that has an opinion about it.
func (s *Service) handOver(ctx context.Context, in incoming) error {
	defects := 0
	for try := 1; ctx.Err() == nil; try++ {
		acc, err := bus.MessageReceive.Ask(ctx, s.bus(), in.message)
		code := bus.CodeOf(err)
		if code == bus.CodeInternal || code == bus.CodeDenied {
			defects++
		}
		switch {
		case err == nil && acc.Duplicate, code == bus.CodeConflict: // the id is this message's alone: it was taken before
			s.metrics.updates.WithLabelValues("duplicate").Inc()
			s.drop(ctx, in.message.Attachments)
			return ctx.Err()
		case err == nil:
			s.metrics.updates.WithLabelValues("accepted").Inc()
			s.typing.begin(acc.ID, in.place)
			return nil
		case ctx.Err() != nil:
			continue
		case code == bus.CodeInvalid || code == bus.CodeTooLarge || defects >= maxDefects || notSoon(err):
			s.drop(ctx, in.message.Attachments)
			return s.refuse(ctx, in, "I did not take your message: "+err.Error()+"."+hint(err))
		}
		wait := doubled(s.pauses.first, try, s.pauses.most)
		s.log.Warn("message not taken, trying again", "try", try, "wait", wait.String(), "err", err)
		sleep(ctx, wait)
	}
	s.drop(ctx, in.message.Attachments) // it is fetched again; one that was taken after all is not deleted
	return ctx.Err()
}

// longPause is more than a message is held back for: while it waits, so do the other
// chats of its page.
const longPause = 15 * time.Second

// notSoon reports whether a busy agent wants to be asked again only after a long
// pause: then the person is told.
func notSoon(err error) bool {
	var e *bus.Error
	return errors.As(err, &e) && e.Code == bus.CodeBusy && e.RetryAfter >= longPause
}

func hint(err error) string {
	var e *bus.Error
	if errors.As(err, &e) && e.Hint != "" {
		return " (" + e.Hint + ")"
	}
	return ""
}

// fetch gets the file of a message and keeps it. The refusal is for the person; an
// error means that ctx ended.
func (s *Service) fetch(ctx context.Context, in *incoming) (refusal string, err error) {
	failed, defects := 0, 0 // by Telegram, by us
	for try := 1; ; try++ {
		info, err := s.fetchOnce(ctx, in.file)
		switch {
		case err == nil:
			in.message.Attachments = []bus.Attachment{{ID: info.ID, Kind: in.kind, MediaType: info.MediaType, Name: info.Name, Bytes: info.Bytes}}
			return "", nil
		case ctx.Err() != nil:
			return "", ctx.Err()
		case errors.Is(err, blob.ErrTooLarge), says(err, "file is too big"):
			return tooLarge(in.file.Name, max(in.file.Size, s.cfg.MaxFileBytes+1), s.cfg.MaxFileBytes), nil
		case errors.Is(err, blob.ErrFull):
			return fmt.Sprintf("I did not take your message: there is no room for more files. (The bound is telegram.files_mb, %d.)", s.cfg.FilesMB), nil
		case errors.Is(err, sqlite.ErrFull), errors.Is(err, sqlite.ErrBusy): // like a text, it waits
		case ofTelegram(err):
			if failed++; failed >= maxFetches || codeOf(err) == http.StatusBadRequest {
				s.evidence.note(err)
				return fmt.Sprintf("I did not take your message: I could not fetch the file %s from Telegram. Please send it again.", in.file.Name), nil
			}
		default:
			if defects++; defects >= maxDefects {
				s.log.Error("file cannot be kept", "update", in.message.ExternalID, "err", err)
				return fmt.Sprintf("I did not take your message: I could not keep the file %s. Please send it again later.", in.file.Name), nil
			}
		}
		wait := doubled(s.pauses.first, try, s.pauses.most)
		s.log.Warn("file not fetched, trying again", "wait", wait.String(), "err", err)
		sleep(ctx, wait)
	}
}

func (s *Service) fetchOnce(ctx context.Context, f *file) (blob.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, fileLimit)
	defer cancel()
	select {
	case s.fetching <- struct{}{}:
	case <-ctx.Done():
		return blob.Info{}, ctx.Err()
	}
	defer func() { <-s.fetching }()
	var at struct {
		Path string `json:"file_path"`
	}
	if err := s.polled.call(ctx, "getFile", map[string]string{"file_id": f.ID}, &at); err != nil {
		return blob.Info{}, err
	}
	body, err := s.polled.open(ctx, at.Path)
	if err != nil {
		return blob.Info{}, err
	}
	defer body.Close()
	return s.blobs.Put(ctx, body, blob.Info{Name: f.Name, MediaType: f.MimeType})
}

// drop deletes files that no message needs.
func (s *Service) drop(ctx context.Context, as []bus.Attachment) {
	for _, a := range as {
		if err := s.blobs.Delete(context.WithoutCancel(ctx), a.ID); err != nil {
			s.log.Warn("file not deleted, the sweep will", "err", err)
		}
	}
}
