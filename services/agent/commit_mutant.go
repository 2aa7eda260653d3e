// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build mutate

package agent

import (
	"context"
	"os"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// Here one write, the one that BLUFIO_MUTATE names, is wrong on purpose. Only the
// kill test builds it, to prove that it would notice.

func missing(name string) bool { return os.Getenv("BLUFIO_MUTATE") == name }

// promise returns before the message is on disk.
func (s *Service) promise(ctx context.Context, fn func(tx *sqlite.Tx) error) error {
	if missing("accept") {
		return s.store.WriteLazy(fn, nil)
	}
	return s.store.Write(ctx, fn)
}

// keepStep keeps nothing.
func (s *Service) keepStep(ctx context.Context, fn func(tx *sqlite.Tx) error) error {
	if missing("step") {
		return nil
	}
	return s.store.Write(ctx, fn)
}

// keepEnd keeps nothing.
func (s *Service) keepEnd(ctx context.Context, fn func(tx *sqlite.Tx) error) error {
	if missing("end") {
		return nil
	}
	return s.store.Write(ctx, fn)
}

// keepNote keeps nothing and says that it did.
func (s *Service) keepNote(fn func(tx *sqlite.Tx) error, done func(error)) error {
	if missing("note") {
		done(nil)
		return nil
	}
	return s.store.WriteLazy(fn, done)
}

// listed forgets the call.
func listed(tx *sqlite.Tx, payload []byte) error {
	if missing("settlement") {
		return nil
	}
	_, err := tx.Exec(`INSERT INTO settlement (payload) VALUES (?)`, payload)
	return err
}
