// SPDX-License-Identifier: MIT OR Apache-2.0

package keys

import (
	"context"
	"fmt"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// CarryOver shuts those keys out of a restored database that were shut out of the one
// that it replaces. Keys issued since are not let in: who issued them is to say so again.
func CarryOver(ctx context.Context, replaced, restored *sqlite.Store) (revoked int, err error) {
	revoked, err = sqlite.CopyRows(ctx, replaced, restored, `SELECT public, ended_at FROM bus_keys WHERE state = 'revoked'`,
		`UPDATE bus_keys SET state = 'revoked', ended_at = ?2 WHERE public = ?1 AND state <> 'revoked'`)
	if err != nil {
		return revoked, fmt.Errorf("carry over revoked keys: %w", err)
	}
	return revoked, nil
}
