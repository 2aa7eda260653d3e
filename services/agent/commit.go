// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !mutate

package agent

import (
	"context"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// What the room promises rests on these writes. They stand alone because the kill
// test of services/serve/crashtest proves that it notices when one is missing
// (commit_mutant.go).

// promise returns when a message that is about to be acknowledged is on disk.
func (s *Service) promise(ctx context.Context, fn func(tx *sqlite.Tx) error) error {
	return s.store.Write(ctx, fn)
}

// keepStep returns when a round of a turn is on disk, with its tools' effects.
func (s *Service) keepStep(ctx context.Context, fn func(tx *sqlite.Tx) error) error {
	return s.store.Write(ctx, fn)
}

// keepEnd returns when a turn's end is on disk.
func (s *Service) keepEnd(ctx context.Context, fn func(tx *sqlite.Tx) error) error {
	return s.store.Write(ctx, fn)
}

// keepNote queues what became of a delivery.
func (s *Service) keepNote(fn func(tx *sqlite.Tx) error, done func(error)) error {
	return s.store.WriteLazy(fn, done)
}

// listed queues the settlement of one model call, within the transaction of what
// the call was for.
func listed(tx *sqlite.Tx, payload []byte) error {
	_, err := tx.Exec(`INSERT INTO settlement (payload) VALUES (?)`, payload)
	return err
}
