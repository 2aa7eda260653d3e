// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"errors"
	"fmt"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus"
)

// Reasons for which events are not carried.
var (
	errAway     = errors.New("the hub is not reached")
	errConflict = errors.New("another daemon has the same name")
	errNoStream = errors.New("no stream on the hub takes them")
	errNoAck    = errors.New("the hub's stream does not answer")
	errUnread   = errors.New("the event stream cannot be read")
)

// refusal is the hub's stream saying no.
type refusal struct{ text string }

func (e refusal) Error() string { return "the hub's stream refuses them: " + e.text }

// health tells what an owner can do something about. The agent's work does not
// suffer from any of it.
func (s *Service) health() []bus.Problem {
	if s.d.Server.Leaf() == nil {
		return nil
	}
	now := s.d.Now()
	s.mu.Lock()
	trouble, seen := s.trouble, s.seen
	s.mu.Unlock()
	var refused refusal
	waiting := fmt.Sprintf("%d events wait", s.behind())
	if s.behind() == 1 {
		waiting = "1 event waits"
	}
	switch {
	case s.name.conflict(now):
		return []bus.Problem{{Code: "hub_name", Title: fmt.Sprintf("another daemon on the hub is called %s too; %s", s.name.node, waiting),
			Hint: "give one of them another name with daemon.node; neither answers until then"}}
	case !s.d.Server.HubConnected() && now.Sub(seen) > s.bounds.grace:
		title := "the hub is not reached"
		if why := s.d.Server.HubTrouble(); why != "" {
			title += ": " + clean(why)
		}
		return []bus.Problem{{Code: "hub_away", Title: title + "; " + waiting,
			Hint: "check bus.leaf.url and whether the hub knows the key in bus.leaf.seed_file; the daemon goes on by itself and sends the events later"}}
	case errors.Is(trouble, errNoStream):
		return []bus.Problem{{Code: "hub_stream", Title: "no stream on the hub keeps this daemon's events; " + waiting, Hint: fmt.Sprintf("at the hub, if it has no stream: %s; if it has one, it knows the key in bus.leaf.seed_file under another name than daemon.node = %q: a key may speak under its own name only", StreamCommand, s.name.node)}}
	case errors.Is(trouble, errNoAck), errors.As(trouble, &refused):
		return []bus.Problem{{Code: "hub_stream", Title: trouble.Error() + "; " + waiting,
			Hint: "see that the stream at the hub works, and that this daemon's key may publish " + bus.NodeSubject(s.name.node, "evt.>")}}
	}
	return nil
}

// StreamCommand makes the stream at the hub. The duplicate window is what keeps an
// event from being stored twice where the hub has no JetStream domain.
const StreamCommand = "nats stream add " + bus.NodeStream + " --subjects '" + bus.NodeFacts + "' --storage file --retention limits --discard old" +
	" --max-age 30d --max-bytes 1GB --dupe-window 2m --allow-direct --defaults"

// meters are the room's metrics.
type meters struct {
	published, lost prometheus.Counter
	calls           *prometheus.CounterVec
	gauges          []prometheus.Collector
}

func (m *meters) init(s *Service) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string, value func() float64) {
		m.gauges = append(m.gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	m.published = counter("blufio_hub_published_total", "Durable events that the hub's stream acknowledged.")
	m.lost = counter("blufio_hub_lost_total", "Durable events that can no longer reach the hub; it was told of the gap.")
	m.calls = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "blufio_hub_calls_total", Help: "Calls that came from the hub, by outcome."}, []string{"outcome"})
	for _, outcome := range []string{outcomeAnswered, outcomeFailed, outcomeRefused} {
		m.calls.WithLabelValues(outcome)
	}
	gauge("blufio_hub_connected", "Whether the hub is joined: 1 or 0.", func() float64 {
		if s.d.Server.Leaf() != nil && s.d.Server.HubConnected() {
			return 1
		}
		return 0
	})
	gauge("blufio_hub_behind", "Durable events that the hub does not have yet.", func() float64 {
		if s.d.Server.Leaf() == nil {
			return 0
		}
		return float64(s.behind())
	})
	bounded := func(name, help string, limit int, read func() float64) {
		gauge(name, help, read)
		gauge(name+"_limit", "Bound of "+name+", fixed.", func() float64 { return float64(limit) })
	}
	bounded("blufio_hub_in_flight", "Durable events on their way to the hub.", window, func() float64 { return float64(s.flying.Load()) })
	bounded("blufio_hub_questions", "Questions of the hub that are answered or wait for that.", cap(s.places), func() float64 { return float64(len(s.places)) })
}

func (m *meters) all() []prometheus.Collector {
	return append([]prometheus.Collector{m.published, m.lost, m.calls}, m.gauges...)
}
