// SPDX-License-Identifier: MIT OR Apache-2.0

package llm

import (
	"context"
	"time"
)

// Looker is a provider that can be looked at for nothing: nobody is paid for it.
type Looker interface {
	// Look asks whether the provider is there and takes the key. The error is a
	// *bus.Error, or one that says that the server was slow; what was seen may be known
	// beside it.
	Look(ctx context.Context) (Sight, error)
}

// Sight is what a look at a provider showed.
type Sight struct {
	Host   string
	Took   time.Duration
	Date   time.Time // the server's clock; zero: it did not say
	Models []string  // all that it offers; nil: not known
	Note   string    // what the look did not show, "" for nothing
}
