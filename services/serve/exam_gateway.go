// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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
	}}
}

func (e Exam) askGateway(ctx context.Context) services.Result {
	if e.Daemon.Gateway == "" {
		return services.Skip("the daemon is needed for it")
	}
	began := time.Now()
	h, err := getHealth(ctx, e.Daemon.Gateway)
	if err != nil {
		return services.Fail("%s does not answer: %v", e.Daemon.Gateway, err)
	}
	return services.OK("%s answers in %d ms: %s", e.Daemon.Gateway, time.Since(began).Milliseconds(), h.State)
}

// getHealth asks once. What the daemon says of itself there is other checks' business:
// here it counts that it says something.
func getHealth(ctx context.Context, gateway string) (h bus.Health, err error) {
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
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&h); err != nil || h.State == "" {
		return h, fmt.Errorf("HTTP %d without a state", resp.StatusCode)
	}
	return h, nil
}
