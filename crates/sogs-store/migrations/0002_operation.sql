-- What an operator decides: rules, filters, raid mode, held posts, and the log of who did what.

-- One rule of a room, or with room_id 0 of all rooms; names and meanings are in model/rules.rs.
CREATE TABLE settings (
    room_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (room_id, name)
);

CREATE TABLE filters (
    id {id},
    -- NULL: every room.
    room_id BIGINT REFERENCES rooms (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    pattern TEXT NOT NULL,
    action TEXT NOT NULL,
    reply TEXT
);

-- Raid mode that is on; room_id 0 is the whole server.
CREATE TABLE raids (
    room_id BIGINT NOT NULL PRIMARY KEY,
    since DOUBLE PRECISION NOT NULL,
    until_at DOUBLE PRECISION,
    reason TEXT NOT NULL
);

-- Posts that wait for a moderator; the message itself is stored as filtered.
CREATE TABLE held_messages (
    message_id BIGINT NOT NULL PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    room_id BIGINT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    at DOUBLE PRECISION NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX held_messages_room ON held_messages (room_id, message_id);

CREATE TABLE audit_log (
    id {id},
    at DOUBLE PRECISION NOT NULL,
    -- A session id, or 'operator:NAME' for a command, or 'server' for what happened by itself.
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    -- Tokens and ids as text: the log outlives what it speaks of.
    room TEXT,
    target TEXT,
    detail TEXT NOT NULL,
    -- What `undo` needs; NULL when there is nothing to undo.
    undo TEXT,
    undone_at DOUBLE PRECISION
);
CREATE INDEX audit_log_at ON audit_log (at);
