// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// freshFor is how old the evidence behind GET /health may be.
const freshFor = 3 * time.Second

// pulse is the daemon's health as last heard.
type pulse struct {
	mu    sync.Mutex
	last  *bus.Health
	heard time.Time // on our clock
}

func (p *pulse) hear(h bus.Health, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.heard = &h, at
}

// report returns the health that is known at now. Evidence ages from when it
// was made, and from when it was heard: a wall clock that is set back must not
// keep it fresh.
func (p *pulse) report(now time.Time) bus.Health {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return bus.Health{Time: now.UTC(), State: bus.Degraded,
			Checks: []bus.HealthCheck{{Name: "evidence", Detail: "no evidence yet"}}}
	}
	h := *p.last
	h.Checks = append([]bus.HealthCheck{}, h.Checks...)
	if age := max(now.Sub(p.heard), now.Sub(h.Time)); age > freshFor {
		h.State = bus.Degraded
		h.Checks = append(h.Checks, bus.HealthCheck{Name: "evidence",
			Detail: fmt.Sprintf("stale evidence: it is %s old", age.Truncate(time.Second))})
	}
	return h
}

// getHealth answers from what was heard. It asks nobody.
func (f *front) getHealth(w http.ResponseWriter, r *request) error {
	h := f.pulse.report(f.now())
	status := http.StatusOK
	if h.State != bus.Healthy {
		status = http.StatusServiceUnavailable
	}
	return writeJSON(w, status, h)
}

// getMetrics shows the registry.
func (f *front) getMetrics(w http.ResponseWriter, r *request) error {
	select {
	case f.scrapes <- struct{}{}:
		defer func() { <-f.scrapes }()
	default:
		return bus.Errorf(bus.CodeBusy, "%d scrapes are being answered", maxScrapes).WithHint("scrape less often")
	}
	promhttp.HandlerFor(f.gatherer, promhttp.HandlerOpts{
		ErrorLog:           scrapeLog{f.log},
		ErrorHandling:      promhttp.ContinueOnError, // a part is better than nothing
		DisableCompression: true,                     // costs more memory than the loopback's bytes
	}).ServeHTTP(w, r.Request)
	return nil
}

// scrapeLog is where promhttp reports metrics it could not show.
type scrapeLog struct{ log *slog.Logger }

func (l scrapeLog) Println(v ...any) {
	l.log.Warn("scrape is incomplete", "err", strings.TrimSpace(fmt.Sprintln(v...)))
}
