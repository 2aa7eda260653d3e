// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/blufio/blufio/services"
)

// Probes are the room's checks. Those of no Service can be listed, not run.
func Probes(s *Service) []services.Probe {
	if s == nil {
		s = &Service{cfg: Defaults(), evidence: &evidence{off: func() bool { return true }}, allow: newAllowList(nil, time.Now)}
	}
	return append(botProbes(s.cfg, s.allow.list), services.Probe{
		ID: "BLF-TG-002", Title: "Nobody else polls the bot",
		Why:      "Telegram gives each message to one program only",
		Fix:      "stop the other program, or give each a bot of its own",
		Problems: []string{"telegram_conflict", "telegram_webhook"},
		Run:      s.alone,
	})
}

// BotProbes are the checks that need no daemon.
func BotProbes(cfg Config) []services.Probe {
	return botProbes(cfg, func() []int64 { return cfg.Allow })
}

// botProbes are given who may talk to the bot, which changes while the room runs.
func botProbes(cfg Config, allowed func() []int64) []services.Probe {
	return []services.Probe{{
		ID: "BLF-TG-001", Title: "Telegram answers and knows the bot", Place: services.Either,
		Why:      "without that no message comes in or goes out there",
		Fix:      "see whether this machine reaches telegram.api_url",
		Problems: []string{"telegram_token", "telegram_down"},
		Run:      cfg.askBot,
	}, {
		ID: "BLF-TG-003", Title: "Somebody may talk to the bot", Place: services.Either,
		Why: "with an empty list the bot refuses everybody",
		Fix: "write to the bot: it answers with the id to put into telegram.allow",
		Run: func(context.Context) services.Result {
			n := len(allowed())
			switch {
			case cfg.BotToken.IsZero():
				return services.Skip("no bot is configured")
			case n == 0:
				return services.Warn("telegram.allow is empty")
			}
			return services.OK("%d people and groups may", n)
		},
	}}
}

func (c Config) askBot(ctx context.Context) services.Result {
	if c.BotToken.IsZero() {
		return services.Skip("no bot is configured")
	}
	api := newClient(c)
	defer api.close()
	began := time.Now()
	var me user
	err := api.call(ctx, "getMe", struct{}{}, &me)
	if errors.As(err, new(*tokenError)) {
		return services.Skip("its token cannot be had: see BLF-VLT-001")
	}
	switch {
	case rejectsToken(err):
		return services.Fail("%v", err).WithFix("copy the token again from @BotFather: blufio config set-secret telegram.bot_token")
	case codeOf(err) == http.StatusTooManyRequests:
		return services.Warn("%v", err).WithFix("wait; it is tried again by itself")
	}
	if err != nil {
		return services.Fail("%v", err)
	}
	return services.OK("@%s answered in %d ms", me.Username, time.Since(began).Milliseconds())
}

// alone judges by what the poller has met. To poll here would end its own poll.
func (s *Service) alone(ctx context.Context) services.Result {
	if s.cfg.BotToken.IsZero() {
		return services.Skip("no bot is configured")
	}
	e := s.evidence
	e.mu.Lock()
	conflict, last, failing, success := e.conflict.last, e.last, e.failing, e.success
	e.mu.Unlock()
	now := s.now()
	switch {
	case says(last, "webhook"):
		return services.Fail("a webhook is set for this bot, so it cannot be polled").
			WithFix("call the Bot API's deleteWebhook once with this token, or use a bot of its own")
	case !conflict.IsZero() && now.Sub(conflict) < 2*patience:
		return services.Fail("another program polled this bot %d s ago", int(now.Sub(conflict).Seconds()))
	case failing.IsZero() && success == nil:
		return services.OK("nobody does, and the first poll is under way")
	case failing.IsZero():
		return services.OK("nobody does; the last poll was answered %d s ago", int(now.Sub(*success).Seconds()))
	case rejectsToken(last), s.cfg.askBot(ctx).Level != "ok":
		return services.Skip("see BLF-TG-001")
	}
	return services.Fail("polls fail since %s: %v", failing.Format(time.TimeOnly), last).WithFix("see the daemon's log; it is tried again by itself")
}
