// SPDX-License-Identifier: MIT OR Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// busProbes are those of the bus and of the rooms that meet on it.
func (s *Service) busProbes() []services.Probe {
	return []services.Probe{{
		ID: "BLF-BUS-001", Title: "The bus answers",
		Why: "all parts of blufio speak with each other over it",
		Fix: "restart the daemon; its log says what happened",
		Run: s.roundTrip,
	}, {
		ID: "BLF-BUS-002", Title: "Connections keep up and find room",
		Why: "a connection that does not keep up is cut off and misses events; without room nobody else gets on",
		Fix: "end what reads too slowly, or raise bus.max_connections",
		Run: s.connections,
	}, {
		ID: "BLF-ROOM-001", Title: "Every part of the daemon runs",
		Why: "what does not run does not do its work",
		Fix: "see the daemon's log for the reason; a part that fails is started again by itself",
		Run: s.roomsRun,
	}, {
		ID: "BLF-ROOM-002", Title: "No part sees something wrong",
		Why: "a part says what it cannot mend itself",
		Fix: "as the part says",
		Run: s.roomsWell,
	}}
}

// roundTrip asks the room's own question that nobody needs an answer to.
func (s *Service) roundTrip(ctx context.Context) services.Result {
	began := time.Now()
	_, err := bus.JobGet.Ask(ctx, s.bus(), bus.JobQuery{ID: "none"})
	if err == nil || errors.Is(err, &bus.Error{Code: bus.CodeNotFound}) {
		return services.OK("a question was answered in %s", short(time.Since(began)))
	}
	return services.Fail("a question was not answered: %v", err)
}

// short is a duration for people.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return d.Truncate(time.Second).String()
}

func (s *Service) connections(context.Context) services.Result {
	st := s.d.Server.Stats()
	most := s.d.MaxConns
	seen := fmt.Sprintf("%d of %d connections", st.Connections, most)
	switch {
	case st.Connections*10 >= most*9:
		return services.Warn("%s are in use", seen).WithFix("end what needs no connection, or raise bus.max_connections")
	case st.SlowConsumers > 0:
		return services.Info("%s; since its start the daemon cut off %d that did not keep up", seen, st.SlowConsumers)
	}
	return services.OK("%s, none was cut off", seen)
}

func (s *Service) roomsRun(context.Context) services.Result {
	var down, again []string
	running := 0
	for _, v := range s.d.Report().Services {
		i := slices.IndexFunc(v.Problems, services.NotRunning)
		switch {
		case i >= 0:
			down = append(down, v.Name+": "+v.Problems[i].Title)
			continue
		case v.Restarts > 0:
			again = append(again, fmt.Sprintf("%s (%d times)", v.Name, v.Restarts))
		}
		running++
	}
	switch {
	case len(down) > 0:
		return services.Fail("%s", strings.Join(down, "; "))
	case len(again) > 0:
		return services.Warn("%d run; started again after a failure: %s", running, strings.Join(again, ", "))
	}
	return services.OK("all %d do", running)
}

// roomsWell leaves out what other probes speak of, so that a trouble is one finding.
func (s *Service) roomsWell(context.Context) services.Result {
	spoken := map[string]bool{}
	for _, p := range s.d.Probes() {
		for _, code := range p.Problems {
			spoken[code] = true
		}
	}
	var seen, fixes []string
	for _, v := range s.d.Report().Services {
		for _, p := range v.Problems {
			if services.NotRunning(p) || spoken[p.Code] {
				continue
			}
			seen = append(seen, v.Name+": "+p.Title)
			fixes = append(fixes, p.Hint)
		}
	}
	if len(seen) == 0 {
		return services.OK("none does")
	}
	return services.Fail("%s", strings.Join(seen, "; ")).WithFix("%s", strings.Join(fixes, "; "))
}
