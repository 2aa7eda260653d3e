// SPDX-License-Identifier: MIT OR Apache-2.0

// Package services is the house that blufio's rooms live in.
//
// A room is a [Service]: it declares itself in its [Door] (what it says and
// hears on the bus, its metrics, its health) and works in Run. The [House]
// starts the rooms in order, each ready before the next, restarts one that
// fails, and stops them in two passes: first every Run returns, in reverse order
// so that intake ends before the work behind it, then the connections drain, so
// that the last reply still finds its way out.
//
// Rooms never import each other; services/serve is the only place that knows
// them all.
package services

import (
	"context"

	"github.com/blufio/blufio/bus"
	"github.com/prometheus/client_golang/prometheus"
)

// Service is one room of the house.
type Service interface {
	// Door declares the room. It has no side effects and is asked once.
	Door() Door
	// Run works until ctx ends, finishes what it began, and returns nil. It calls
	// ready once, when its handlers may be called; they stay callable after Run
	// has returned, until the connection is drained. Run is called again after a
	// failure: it starts from what is stored.
	Run(ctx context.Context, c *bus.Conn, ready func()) error
}

// Door is what a room shows to the others.
type Door struct {
	Name    string                 // also its config section and metric prefix
	Hears   []bus.Handler          // lanes it answers or listens to
	Says    []bus.Lane             // lanes it may use; its Conn refuses any other
	Metrics []prometheus.Collector // registered on the house's own registry

	// Failures count, since the start, what went wrong beside answers on the bus, by
	// kind, for blufio_errors_total.
	Failures map[string]func() float64

	Health  func() []bus.Problem // evidence of what is wrong now; nil: nothing can be
	Channel func() bus.Channel   // channels only: the evidence of its traffic
	Probes  []Probe              // checks that doctor makes; they may touch the network
}
