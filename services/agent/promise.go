// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !mutate_inbox

package agent

import (
	"context"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// promise writes what receive is about to promise: it returns when that is on
// disk. It stands alone because the kill test of services/serve/crashtest proves
// that it notices when it is missing (promise_mutant.go).
func (s *Service) promise(ctx context.Context, fn func(tx *sqlite.Tx) error) error {
	return s.store.Write(ctx, fn)
}
