// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// gatewayProbes look at the gateway as its clients do.
func (e Exam) gatewayProbes() []services.Probe {
	return []services.Probe{{
		ID: "BLF-GW-001", Title: "The gateway answers", Place: services.Outside,
		Why: "clients, containers and scripts see the daemon through it",
		Fix: "see the daemon's log; gateway.listen says where it listens",
		Run: e.askGateway,
	}, {
		ID: "BLF-RUN-002", Title: "The ports that the daemon needs are free", Place: services.Outside,
		Why: "it does not start when another program listens there",
		Fix: "end the other program, or set another port",
		Run: e.freePorts,
	}}
}

// freePorts tries them for a moment. Of a daemon that runs, they are its own.
func (e Exam) freePorts(ctx context.Context) services.Result {
	cfg, _, err := Load(e.Sources)
	switch {
	case e.Live || e.Locked:
		return services.Skip("a daemon runs")
	case err != nil:
		return services.Skip("see BLF-CFG-001")
	}
	var lc net.ListenConfig
	for _, p := range []struct{ key, address string }{{"gateway.listen", cfg.Gateway.Listen}, {"bus.listen", cfg.Bus.Listen}} {
		l, err := lc.Listen(ctx, "tcp", p.address)
		if err != nil {
			why := err
			if errors.Is(err, syscall.EADDRINUSE) {
				why = errors.New("another program listens there")
			}
			return services.Fail("%s, %s: %v", p.key, p.address, why).WithFix("end the other program, or set %s to another port", p.key)
		}
		if err := l.Close(); err != nil {
			return services.Fail("%s, %s: %v", p.key, p.address, err)
		}
	}
	return services.OK("%s and %s", cfg.Gateway.Listen, cfg.Bus.Listen)
}

func (e Exam) askGateway(ctx context.Context) services.Result {
	if !e.Live || e.Daemon.Gateway == "" {
		return services.Skip("see BLF-RUN-001")
	}
	began := time.Now()
	h, err := GetHealth(ctx, e.Daemon.Gateway)
	if err != nil {
		return services.Fail("%s does not answer: %v", e.Daemon.Gateway, err)
	}
	return services.OK("%s answers in %d ms: %s", e.Daemon.Gateway, time.Since(began).Milliseconds(), h.State)
}

const maxHealth = 1 << 20 // bytes of an answer

// GetHealth asks a gateway's /health once, until ctx ends. Whatever the daemon says of itself
// there is no error; that it says nothing is.
func GetHealth(ctx context.Context, gateway string) (h bus.Health, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, gateway+"/health", nil)
	if err != nil {
		return h, err
	}
	// The address comes from a file that only the daemon's user can write, and no
	// secret is sent. The certificate is made for the name that others use.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return h, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxHealth)).Decode(&h); err != nil {
		return h, fmt.Errorf("read answer (HTTP %d): %w", resp.StatusCode, err)
	}
	if h.State == "" || h.State == bus.Healthy && resp.StatusCode != http.StatusOK {
		return h, fmt.Errorf("HTTP %d without a state", resp.StatusCode)
	}
	return h, nil
}
