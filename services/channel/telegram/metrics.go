// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import "github.com/prometheus/client_golang/prometheus"

// metrics are the room's; labels come from a closed set.
type metrics struct {
	updates *prometheus.CounterVec
	denied  prometheus.Counter
	limited prometheus.Counter
	plain   prometheus.Counter
	shown   prometheus.Counter
	gauges  []prometheus.Collector
}

func newMetrics(s *Service) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "blufio_telegram_" + name, Help: help})
	}
	m := &metrics{
		updates: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_telegram_updates_total", Help: "Updates that were confirmed, by what became of them."}, []string{"outcome"}),
		denied:  counter("denied_total", "Messages of people who are not on the list."),
		limited: counter("limited_total", "Requests that Telegram refused as too many."),
		plain:   counter("plain_total", "Messages sent without their looks, because Telegram did not understand the tags."),
		shown:   counter("drafts_total", "Messages begun before the answer was complete."),
	}
	for _, o := range []string{"accepted", "duplicate", "refused", "denied", "ignored", "undecodable", "failed"} {
		m.updates.WithLabelValues(o)
	}
	gauge := func(name, help string, limit float64, read func() int) {
		m.gauges = append(m.gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blufio_telegram_" + name, Help: help}, func() float64 { return float64(read()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blufio_telegram_" + name + "_limit", Help: "Bound of blufio_telegram_" + name + ", fixed."}, func() float64 { return limit }))
	}
	gauge("drafts", "Answers shown while they are made.", maxDrafts, func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.drafts)
	})
	gauge("unnoted", "Messages sent whose ids the database has not taken yet; nothing more is sent until it has.", maxDrafts+maxSends, func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.unnoted)
	})
	gauge("moved_chats", "Groups that have another id since they became supergroups.", maxMoved, s.moved.size)
	gauge("refused_people", "People remembered as told that they are not on the list.", maxRefused, s.allow.size)
	gauge("handovers", "Chats whose messages are being handed to the agent.", maxChats, func() int { return len(s.handing) })
	gauge("silent_chats", "Chats in which Telegram asked for a pause, until the next one is asked for.", maxHolds, s.pace.silent)
	gauge("typing", "Messages whose chat shows that the bot is typing.", maxTyping, func() int {
		s.typing.mu.Lock()
		defer s.typing.mu.Unlock()
		return len(s.typing.waiting)
	})
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return append([]prometheus.Collector{m.updates, m.denied, m.limited, m.plain, m.shown}, m.gauges...)
}
