// SPDX-License-Identifier: MIT OR Apache-2.0

package services

import (
	"context"
	"sync"
)

// Work runs loops side by side until ctx ends and all have returned. A panic in
// one becomes its error; the first error ends the others and is returned. Rooms
// start their goroutines with it: an uncaught panic would end the process.
func Work(ctx context.Context, loops ...func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	var once sync.Once
	var first error
	for _, loop := range loops {
		group.Go(func() {
			if err := Contain(func() error { return loop(ctx) }); err != nil {
				once.Do(func() { first = err })
				cancel(err)
			}
		})
	}
	group.Wait()
	return first
}
