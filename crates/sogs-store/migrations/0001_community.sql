-- What the protocol knows: rooms, users, messages, reactions, pins, files, permissions, direct messages.
-- One text for both databases: {id} is the type of an automatic, never reused primary key, {blob} of raw bytes.
-- Times are Unix seconds as floating point, exactly as they go over the wire.

CREATE TABLE rooms (
    id {id},
    -- As written by the operator; token_key is its lower-case form, because tokens ignore case.
    token TEXT NOT NULL,
    token_key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT,
    image_id BIGINT,
    created DOUBLE PRECISION NOT NULL,
    -- +1 for every post, edit, deletion, and reaction added or removed.
    message_sequence BIGINT NOT NULL DEFAULT 0,
    -- +1 for every change of name, description, image, pins and moderators.
    info_updates BIGINT NOT NULL DEFAULT 0,
    active_users BIGINT NOT NULL DEFAULT 0,
    can_read BOOLEAN NOT NULL DEFAULT TRUE,
    can_access BOOLEAN NOT NULL DEFAULT TRUE,
    can_write BOOLEAN NOT NULL DEFAULT TRUE,
    can_upload BOOLEAN NOT NULL DEFAULT TRUE
);

CREATE TABLE users (
    id {id},
    session_id TEXT NOT NULL UNIQUE,
    created DOUBLE PRECISION NOT NULL,
    last_active DOUBLE PRECISION NOT NULL,
    banned BOOLEAN NOT NULL DEFAULT FALSE,
    moderator BOOLEAN NOT NULL DEFAULT FALSE,
    admin BOOLEAN NOT NULL DEFAULT FALSE,
    visible_mod BOOLEAN NOT NULL DEFAULT FALSE,
    CHECK (NOT (banned AND (moderator OR admin)))
);
CREATE INDEX users_last_active ON users (last_active);
CREATE INDEX users_moderators ON users (id) WHERE moderator;

-- Blinded ids under which a user known by an account id (05) will show up: the absolute 15 id and the 25 id.
CREATE TABLE needs_blinding (
    blinded TEXT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX needs_blinding_user ON needs_blinding (user_id);

CREATE TABLE messages (
    id {id},
    room_id BIGINT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL REFERENCES users (id),
    posted DOUBLE PRECISION NOT NULL,
    edited DOUBLE PRECISION,
    -- The larger of seqno_data and seqno_reactions.
    seqno BIGINT NOT NULL,
    seqno_data BIGINT NOT NULL,
    seqno_reactions BIGINT NOT NULL DEFAULT 0,
    seqno_creation BIGINT NOT NULL,
    -- Without its padding; data_size is the length with it. Both and the signature are NULL once deleted.
    data {blob},
    data_size BIGINT,
    signature {blob},
    -- Accepted but shown to nobody.
    filtered BOOLEAN NOT NULL DEFAULT FALSE,
    whisper_to BIGINT REFERENCES users (id),
    whisper_mods BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX messages_sequence ON messages (room_id, seqno);
CREATE INDEX messages_order ON messages (room_id, id);
CREATE INDEX messages_author ON messages (user_id, room_id, posted);

-- What edits and deletions replaced.
CREATE TABLE message_history (
    message_id BIGINT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    replaced DOUBLE PRECISION NOT NULL,
    data {blob} NOT NULL,
    data_size BIGINT,
    signature {blob}
);
CREATE INDEX message_history_message ON message_history (message_id);
CREATE INDEX message_history_replaced ON message_history (replaced);

CREATE TABLE reactions (
    id {id},
    room_id BIGINT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    message_id BIGINT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    reaction TEXT NOT NULL,
    UNIQUE (message_id, reaction)
);
CREATE TABLE user_reactions (
    reaction_id BIGINT NOT NULL REFERENCES reactions (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (reaction_id, user_id)
);
CREATE INDEX user_reactions_order ON user_reactions (reaction_id, at);

CREATE TABLE pinned_messages (
    room_id BIGINT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    message_id BIGINT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    pinned_by BIGINT NOT NULL REFERENCES users (id),
    pinned_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (room_id, message_id)
);

CREATE TABLE files (
    id {id},
    room_id BIGINT REFERENCES rooms (id) ON DELETE SET NULL,
    uploader_id BIGINT REFERENCES users (id),
    message_id BIGINT REFERENCES messages (id) ON DELETE SET NULL,
    size BIGINT NOT NULL,
    uploaded DOUBLE PRECISION NOT NULL,
    -- NULL: kept for good (room image, attachment of a pinned message).
    expiry DOUBLE PRECISION,
    filename TEXT,
    -- BLAKE2b-256 of the content in hexadecimal: its name on disk. Equal contents are stored once.
    content TEXT NOT NULL
);
CREATE INDEX files_room ON files (room_id);
CREATE INDEX files_expiry ON files (expiry);
CREATE INDEX files_message ON files (message_id);
CREATE INDEX files_content ON files (content);
CREATE INDEX files_uploader ON files (uploader_id);

CREATE TABLE room_users (
    room_id BIGINT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    last_active DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (room_id, user_id)
);
CREATE INDEX room_users_activity ON room_users (room_id, last_active);

-- What holds for one user in one room instead of the room's defaults; NULL keeps the default.
CREATE TABLE permission_overrides (
    room_id BIGINT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    banned BOOLEAN NOT NULL DEFAULT FALSE,
    can_read BOOLEAN,
    can_access BOOLEAN,
    can_write BOOLEAN,
    can_upload BOOLEAN,
    moderator BOOLEAN NOT NULL DEFAULT FALSE,
    admin BOOLEAN NOT NULL DEFAULT FALSE,
    visible_mod BOOLEAN NOT NULL DEFAULT TRUE,
    PRIMARY KEY (room_id, user_id),
    CHECK (NOT (banned AND (moderator OR admin)))
);
CREATE INDEX permission_overrides_user ON permission_overrides (user_id);
CREATE INDEX permission_overrides_mods ON permission_overrides (room_id) WHERE moderator;

CREATE TABLE permission_futures (
    id {id},
    room_id BIGINT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at DOUBLE PRECISION NOT NULL,
    can_read BOOLEAN,
    can_write BOOLEAN,
    can_upload BOOLEAN
);
CREATE INDEX permission_futures_at ON permission_futures (at);
CREATE INDEX permission_futures_user ON permission_futures (room_id, user_id);

-- room_id NULL: a ban of the whole server.
CREATE TABLE ban_futures (
    id {id},
    room_id BIGINT REFERENCES rooms (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at DOUBLE PRECISION NOT NULL,
    banned BOOLEAN NOT NULL
);
CREATE INDEX ban_futures_at ON ban_futures (at);
CREATE INDEX ban_futures_user ON ban_futures (user_id, room_id);

-- Request nonces that were used; `stamp` is the signed timestamp, which decides how long a nonce matters.
CREATE TABLE nonces (
    nonce {blob} NOT NULL PRIMARY KEY,
    stamp BIGINT NOT NULL
);
CREATE INDEX nonces_stamp ON nonces (stamp);

CREATE TABLE inbox (
    id {id},
    recipient_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    sender_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    body {blob} NOT NULL,
    posted_at DOUBLE PRECISION NOT NULL,
    expiry DOUBLE PRECISION NOT NULL
);
CREATE INDEX inbox_recipient ON inbox (recipient_id, id);
CREATE INDEX inbox_sender ON inbox (sender_id, id);
CREATE INDEX inbox_expiry ON inbox (expiry);

-- How many transactions that change something were committed: lets processes that share a database see whether
-- their memory is behind.
CREATE TABLE change_counter (
    value BIGINT NOT NULL
);
INSERT INTO change_counter (value) VALUES (0);
