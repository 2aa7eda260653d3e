// SPDX-License-Identifier: MIT OR Apache-2.0

package services

import (
	"fmt"
	"slices"
	"strings"

	"github.com/blufio/blufio/bus"
)

// Inner states of a room.
const (
	stateStarting   = "starting"
	stateRunning    = "running"
	stateRestarting = "restarting"
	stateFailed     = "failed"
	stateStopped    = "stopped"
)

// Report is the house's own picture: its rooms in start order and its channels.
type Report struct {
	Services []bus.ServiceStatus
	Channels []bus.Channel
}

// Report asks every room for its evidence. It makes no call on the bus.
func (h *House) Report() Report {
	rep := Report{Services: []bus.ServiceStatus{}, Channels: []bus.Channel{}}
	for _, r := range h.rooms {
		s := r.report()
		rep.Services = append(rep.Services, s)
		if r.door.Channel != nil {
			c := r.door.Channel()
			c.Name = r.door.Name
			if s.State != bus.Healthy {
				c.State = s.State
			}
			rep.Channels = append(rep.Channels, c)
		}
	}
	h.redact(&rep)
	return rep
}

// redact takes secrets out of what rooms say is wrong: it often quotes others.
func (h *House) redact(rep *Report) {
	clean := h.cfg.Redactor
	if clean == nil {
		return
	}
	for i := range rep.Services {
		for j, p := range rep.Services[i].Problems {
			rep.Services[i].Problems[j].Title, rep.Services[i].Problems[j].Hint = clean.Redact(p.Title), clean.Redact(p.Hint)
		}
	}
	for i, c := range rep.Channels {
		if c.LastError != nil {
			text := clean.Redact(*c.LastError)
			rep.Channels[i].LastError = &text
		}
	}
}

// Probes are the checks of all rooms, in the order of the table.
func (h *House) Probes() []Probe {
	var all []Probe
	for _, r := range h.rooms {
		all = append(all, r.door.Probes...)
	}
	slices.SortStableFunc(all, func(a, b Probe) int { return CompareIDs(a.ID, b.ID) })
	return all
}

func (r *room) report() bus.ServiceStatus {
	r.mu.Lock()
	state, restarts, lastErr := r.state, r.restarts, r.lastErr
	r.mu.Unlock()
	s := bus.ServiceStatus{Name: r.door.Name, State: bus.Healthy, Restarts: restarts, Problems: []bus.Problem{}}
	switch state {
	case stateRunning:
		if r.door.Health != nil {
			s.Problems = append(s.Problems, r.door.Health()...)
		}
	case stateStopped:
		s.State = bus.Stopped
		return s
	default:
		p := bus.Problem{Code: notRunning + state, Title: fmt.Sprintf("the room is %s", state), Hint: "see the daemon's log"}
		if lastErr != nil {
			p.Title += ": " + firstLine(lastErr.Error())
		}
		s.Problems = append(s.Problems, p)
	}
	if len(s.Problems) > 0 {
		s.State = bus.Degraded
	}
	return s
}

// notRunning begins the codes of the house's own problems.
const notRunning = "room_"

// NotRunning reports whether p says that its room does not run, rather than
// that it runs and sees something wrong.
func NotRunning(p bus.Problem) bool { return strings.HasPrefix(p.Code, notRunning) }

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
