// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Schemas are the room's tables. Times are Unix milliseconds.
func Schemas() []sqlite.Schema { return []sqlite.Schema{schema, notesSchema} }

var schema = sqlite.Schema{Room: "agent", Steps: []string{`
CREATE TABLE session (
	id         INTEGER PRIMARY KEY,
	channel    TEXT NOT NULL,
	owner      TEXT NOT NULL,
	name       TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	last_at    INTEGER NOT NULL,
	messages   INTEGER NOT NULL DEFAULT 0,
	since      INTEGER NOT NULL DEFAULT 0, -- /new: messages up to this seq are no longer context
	UNIQUE (channel, owner, name)
);
CREATE INDEX session_last ON session (last_at);

-- A message is the inbox entry, and after its turn the history.
CREATE TABLE message (
	seq         INTEGER PRIMARY KEY AUTOINCREMENT,
	id          TEXT NOT NULL UNIQUE,
	session_id  INTEGER NOT NULL REFERENCES session (id),
	text        TEXT NOT NULL,
	state       TEXT NOT NULL,
	attempts    INTEGER NOT NULL DEFAULT 0,
	received_at INTEGER NOT NULL,
	finished_at INTEGER,
	reply       TEXT NOT NULL DEFAULT '',
	error       TEXT NOT NULL DEFAULT ''
);
CREATE INDEX message_session ON message (session_id, seq);
CREATE INDEX message_open ON message (seq) WHERE state IN ('queued', 'running');
CREATE INDEX message_dead ON message (seq) WHERE state = 'dead';
CREATE INDEX message_finished ON message (finished_at);

-- What has been accepted before, by the source's own id.
CREATE TABLE accepted (
	channel     TEXT NOT NULL,
	owner       TEXT NOT NULL,
	external_id TEXT NOT NULL,
	seq         INTEGER NOT NULL,
	digest      BLOB NOT NULL, -- of session and text: the same id for another message is refused
	at          INTEGER NOT NULL,
	PRIMARY KEY (channel, owner, external_id)
) WITHOUT ROWID;
CREATE INDEX accepted_at ON accepted (at);

-- The rounds of a turn that used tools, so that a resumed turn goes on from there.
CREATE TABLE step (
	seq     INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
	round   INTEGER NOT NULL,
	payload BLOB NOT NULL,
	PRIMARY KEY (seq, round)
) WITHOUT ROWID;

-- Replies on their way to a channel. Delivered ones are deleted.
CREATE TABLE outbox (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	seq        INTEGER NOT NULL REFERENCES message (seq),
	session_id INTEGER NOT NULL,
	state      TEXT NOT NULL DEFAULT 'pending', -- or dead
	attempts   INTEGER NOT NULL DEFAULT 0,
	created_at INTEGER NOT NULL,
	error      TEXT NOT NULL DEFAULT ''
);
CREATE INDEX outbox_pending ON outbox (session_id, id) WHERE state = 'pending';
CREATE INDEX outbox_dead ON outbox (id) WHERE state = 'dead';
CREATE INDEX outbox_seq ON outbox (seq);

-- Model calls that the ledger has yet to book.
CREATE TABLE settlement (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	payload BLOB NOT NULL
);

CREATE TABLE agent_state (
	id          INTEGER PRIMARY KEY CHECK (id = 1),
	interrupted INTEGER NOT NULL DEFAULT 0 -- turns that crashes cut off
);
INSERT INTO agent_state (id) VALUES (1);
`, `
-- The person no longer wants an answer.
ALTER TABLE message ADD COLUMN canceled INTEGER NOT NULL DEFAULT 0;
`, `
-- Files that came along, as JSON: a list of bus.Attachment. They lie elsewhere.
ALTER TABLE message ADD COLUMN attachments TEXT NOT NULL DEFAULT '';
`, `
-- How often the operator took a dead letter up again: each time its reply is another.
ALTER TABLE message ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;
`, `
-- Attempts that ended without a crash: a planned stop, or the operator's new start.
ALTER TABLE message ADD COLUMN forgiven INTEGER NOT NULL DEFAULT 0;
-- No part of the conversation: a command, or what was said while there was no model.
ALTER TABLE message ADD COLUMN aside INTEGER NOT NULL DEFAULT 0;
-- The conversation as models read it begins behind this seq; it moves in large steps.
ALTER TABLE session ADD COLUMN window INTEGER NOT NULL DEFAULT 0;
-- What a message's model calls are booked as: "turn", or "heartbeat" for one of the agent's own.
ALTER TABLE message ADD COLUMN purpose TEXT NOT NULL DEFAULT 'turn';
ALTER TABLE agent_state ADD COLUMN heartbeat_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE agent_state ADD COLUMN heartbeat_mark TEXT NOT NULL DEFAULT '';
`, `
-- The message's id, where the message itself did not come along into a restored database.
ALTER TABLE accepted ADD COLUMN message_id TEXT NOT NULL DEFAULT '';
`, `
-- Facts about people that the recall room has yet to take: bus.RecallAdd as JSON.
CREATE TABLE fact (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	payload BLOB NOT NULL
);
-- How far a conversation was looked back at for facts: up to which message, and its last_at
-- when that was the last one; how often in vain since, and until when it is left alone.
ALTER TABLE session ADD COLUMN extracted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN extracted_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN extract_tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN extract_wait INTEGER NOT NULL DEFAULT 0;
`, `
-- What models read of a conversation instead of its older part. The messages stay.
CREATE TABLE summary (
	session_id INTEGER PRIMARY KEY REFERENCES session (id) ON DELETE CASCADE,
	from_seq   INTEGER NOT NULL, -- it stands for the answered messages from here
	to_seq     INTEGER NOT NULL, -- to here
	from_at    INTEGER NOT NULL, -- when the first of them was finished: with that one it is deleted
	made_at    INTEGER NOT NULL,
	provider   TEXT NOT NULL,
	model      TEXT NOT NULL,
	text       TEXT NOT NULL
);
CREATE INDEX summary_from ON summary (from_at);

-- The words of what was said and answered, to be searched. The session is a word too,
-- so that what others have said is not even looked at.
CREATE VIRTUAL TABLE message_words USING fts5 (session, text, reply, content = '', contentless_delete = 1, tokenize = "unicode61 remove_diacritics 2");
INSERT INTO message_words (rowid, session, text, reply) SELECT seq, 's' || session_id, text, reply FROM message WHERE state = 'answered' AND NOT aside;
CREATE TRIGGER message_answered AFTER UPDATE OF state ON message WHEN new.state = 'answered' AND NOT new.aside BEGIN
	INSERT OR REPLACE INTO message_words (rowid, session, text, reply) VALUES (new.seq, 's' || new.session_id, new.text, new.reply);
END;
CREATE TRIGGER message_brought AFTER INSERT ON message WHEN new.state = 'answered' AND NOT new.aside BEGIN
	INSERT OR REPLACE INTO message_words (rowid, session, text, reply) VALUES (new.seq, 's' || new.session_id, new.text, new.reply);
END;
CREATE TRIGGER message_deleted AFTER DELETE ON message BEGIN
	DELETE FROM message_words WHERE rowid = old.seq;
END;
`, `
-- By how much token counts are estimated wrongly for each model: llm.Meter.
ALTER TABLE agent_state ADD COLUMN token_ratios TEXT NOT NULL DEFAULT '';
`, `
-- How many conversations there are, doctor's own aside, and how many have a summary. Status is
-- asked each second, so what changes them keeps count.
ALTER TABLE agent_state ADD COLUMN sessions INTEGER NOT NULL DEFAULT 0;
ALTER TABLE agent_state ADD COLUMN summaries INTEGER NOT NULL DEFAULT 0;
UPDATE agent_state SET sessions = (SELECT count(*) FROM session WHERE channel <> 'doctor'), summaries = (SELECT count(*) FROM summary);
CREATE TRIGGER session_begun AFTER INSERT ON session WHEN new.channel <> 'doctor' BEGIN
	UPDATE agent_state SET sessions = sessions + 1;
END;
CREATE TRIGGER session_gone AFTER DELETE ON session WHEN old.channel <> 'doctor' BEGIN
	UPDATE agent_state SET sessions = sessions - 1;
END;
CREATE TRIGGER summary_made AFTER INSERT ON summary BEGIN
	UPDATE agent_state SET summaries = summaries + 1;
END;
CREATE TRIGGER summary_gone AFTER DELETE ON summary BEGIN
	UPDATE agent_state SET summaries = summaries - 1;
END;
`}}
