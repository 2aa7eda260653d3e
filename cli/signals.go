// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// interruptible returns a context that ends with the first interrupt or termination
// signal. Call stop to hear signals no longer.
func interruptible(ctx context.Context) (_ context.Context, stop context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// listen delivers the given signals until stop is called.
func listen(signals ...os.Signal) (heard <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 4)
	signal.Notify(c, signals...)
	return c, func() { signal.Stop(c) }
}
