// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import "github.com/blufio/blufio/services/internal/sqlite"

// Schema are the room's tables. Times are Unix milliseconds. The tokens themselves
// are not kept, and nothing here makes one.
var Schema = sqlite.Schema{Room: name, Steps: []string{`
CREATE TABLE gateway_tokens (
	id         TEXT PRIMARY KEY, -- jti
	name       TEXT NOT NULL,
	subject    TEXT NOT NULL,
	scopes     TEXT NOT NULL,    -- with a space between
	rate       INTEGER NOT NULL, -- requests a minute; 0: any number
	signer     BLOB NOT NULL,    -- public half of the device key that signed it
	issued_at  INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	revoked_at INTEGER,
	used_at    INTEGER           -- late, and to the minute
);
`}}
