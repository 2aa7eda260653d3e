// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// Examined is what a manifest says of a copy of the database. Whether the copy is sound is found out meanwhile: that
// takes half as long as to compress it, and the two go on beside each other.
type Examined struct {
	File   File
	Schema map[string]int
	Rows   map[string]int64

	stop  context.CancelFunc
	ended chan struct{}
	err   error // once it has ended
}

// Examine describes the copy of the database at path, and begins to look for damage. Until it is known to be [Examined.Sound]
// no archive of it is good. Stop it in any case but an error.
func Examine(ctx context.Context, path string) (*Examined, error) {
	return examine(ctx, path, sqlite.Sound)
}

func examine(ctx context.Context, path string, sound func(ctx context.Context, path string) error) (*Examined, error) {
	ctx, stop := context.WithCancel(ctx)
	e := &Examined{stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(e.ended)
		e.err = contain(func() error { return sound(ctx, path) })
	}()
	if err := e.describe(ctx, path); err != nil {
		e.Stop()
		return nil, err
	}
	return e, nil
}

// describe hashes the copy and counts what is in it, both at the same time.
func (e *Examined) describe(ctx context.Context, path string) (err error) {
	hashed := make(chan error, 1)
	go func() {
		hashed <- contain(func() (err error) {
			e.File, err = Describe(ctx, DatabaseName, path)
			return err
		})
	}()
	c, err := sqlite.Survey(ctx, path)
	if err == nil {
		err = c.Err()
	}
	if err != nil {
		e.stop()
	}
	if hashErr := <-hashed; err == nil {
		err = hashErr
	}
	e.Schema, e.Rows = c.Schema, c.Rows
	return err
}

// Sound waits until the copy has been looked through. Its error wraps [sqlite.ErrCorrupt] for one that is damaged.
func (e *Examined) Sound() error {
	<-e.ended
	return e.err
}

// Damage is what is known to be wrong by now; it does not wait.
func (e *Examined) Damage() error {
	select {
	case <-e.ended:
		return e.err
	default:
		return nil
	}
}

// Stop ends what is still under way, and returns when nobody reads the copy any more.
func (e *Examined) Stop() {
	e.stop()
	<-e.ended
}

// contain makes an error of a panic, which on a goroutine of its own would end the process.
func contain(look func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return look()
}
