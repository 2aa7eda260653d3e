// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import "github.com/blufio/blufio/services/internal/sqlite"

// Schema is the room's tables. Rows are named by n, which is never given out twice: a vector that was under way when
// its fact was forgotten finds nobody.
var Schema = sqlite.Schema{Room: "recall", Steps: []string{`
CREATE TABLE recall_entry (
	n             INTEGER PRIMARY KEY AUTOINCREMENT,
	id            TEXT NOT NULL UNIQUE,
	owner         TEXT NOT NULL,
	text          TEXT NOT NULL,
	about         TEXT NOT NULL,
	source        TEXT NOT NULL,
	importance    REAL NOT NULL,
	at            INTEGER NOT NULL,           -- said last, Unix milliseconds
	seen          INTEGER NOT NULL,           -- how often it was said
	found         INTEGER NOT NULL DEFAULT 0, -- how often a search found it
	superseded_by TEXT,                       -- id of the fact that replaced it
	same_text     BLOB NOT NULL,              -- hash of the folded text
	same_about    TEXT NOT NULL               -- folded; '' for nothing
) STRICT;
CREATE INDEX recall_entry_text ON recall_entry (owner, same_text);
CREATE INDEX recall_entry_about ON recall_entry (owner, same_about) WHERE same_about <> '' AND superseded_by IS NULL;
CREATE INDEX recall_entry_history ON recall_entry (superseded_by) WHERE superseded_by IS NOT NULL;

-- The ids by which facts were added; more than one leads to a fact that was said more than once.
CREATE TABLE recall_call (
	id TEXT PRIMARY KEY,
	n  INTEGER NOT NULL,
	at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX recall_call_n ON recall_call (n);
CREATE INDEX recall_call_at ON recall_call (at);

CREATE TABLE recall_vector (
	n        INTEGER PRIMARY KEY,
	embedder TEXT NOT NULL, -- whose vectors it can be compared with
	vector   BLOB NOT NULL  -- float32, little-endian
) STRICT;
CREATE INDEX recall_vector_embedder ON recall_vector (embedder, n);

-- What is forgotten leaves no words behind in the index: see forget.go. Only what is not history is in it.
CREATE VIRTUAL TABLE recall_words USING fts5 (text, about, owner, content = 'recall_entry', content_rowid = 'n', tokenize = "unicode61 remove_diacritics 2");
INSERT INTO recall_words (recall_words, rank) VALUES ('secure-delete', 1);

-- How many there are, kept by what changes them.
CREATE TABLE recall_state (
	id      INTEGER PRIMARY KEY CHECK (id = 1),
	entries INTEGER NOT NULL,
	history INTEGER NOT NULL
) STRICT;
INSERT INTO recall_state (id, entries, history) VALUES (1, 0, 0);
CREATE TRIGGER recall_entry_added AFTER INSERT ON recall_entry BEGIN
	UPDATE recall_state SET entries = entries + (new.superseded_by IS NULL), history = history + (new.superseded_by IS NOT NULL);
END;
CREATE TRIGGER recall_entry_gone AFTER DELETE ON recall_entry BEGIN
	UPDATE recall_state SET entries = entries - (old.superseded_by IS NULL), history = history - (old.superseded_by IS NOT NULL);
END;
CREATE TRIGGER recall_entry_changed AFTER UPDATE OF superseded_by ON recall_entry BEGIN
	UPDATE recall_state SET entries = entries + (new.superseded_by IS NULL) - (old.superseded_by IS NULL),
		history = history + (new.superseded_by IS NOT NULL) - (old.superseded_by IS NOT NULL);
END;
`, `
-- When something of an owner was forgotten last: what is picked out of conversations before that would bring it back.
CREATE TABLE recall_forgotten (
	owner TEXT PRIMARY KEY,
	at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`}}
