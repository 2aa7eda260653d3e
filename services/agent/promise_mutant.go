// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build mutate_inbox

package agent

import (
	"context"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// promise is wrong on purpose: it returns before the message is on disk. Only
// the kill test builds it, to prove that it would notice.
func (s *Service) promise(_ context.Context, fn func(tx *sqlite.Tx) error) error {
	return s.store.WriteLazy(fn, nil)
}
