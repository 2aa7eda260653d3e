// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"fmt"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// CarryOver revokes in a restored database the tokens that were revoked in the one that
// it replaces. Tokens issued since are not known there, and are refused.
func CarryOver(ctx context.Context, replaced, restored *sqlite.Store) (revoked int, err error) {
	revoked, err = sqlite.CopyRows(ctx, replaced, restored, `SELECT id, revoked_at FROM gateway_tokens WHERE revoked_at IS NOT NULL`,
		`UPDATE gateway_tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL`)
	if err != nil {
		return revoked, fmt.Errorf("carry over revoked tokens: %w", err)
	}
	return revoked, nil
}
