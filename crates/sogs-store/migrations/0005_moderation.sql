-- The moderators' room: held posts and reports appear there, and moderators decide about them. At most one room is it.
ALTER TABLE rooms ADD COLUMN for_moderators BOOLEAN NOT NULL DEFAULT FALSE;
CREATE UNIQUE INDEX rooms_for_moderators ON rooms (for_moderators) WHERE for_moderators;

-- A message of the moderators' room that only those see who moderate this room.
ALTER TABLE messages ADD COLUMN for_moderators_of BIGINT;

-- Cases that moderators decide about: one row for a held post, for the reports about one message, and for the posts of a room
-- that wait without a notice of their own. A row outlives what it is about.
CREATE TABLE cases (
    id {id},
    -- 'held', 'report' or 'more'.
    kind TEXT NOT NULL,
    -- The message; for 'more' the room.
    subject_id BIGINT NOT NULL,
    room_id BIGINT NOT NULL,
    -- Shown id and name of the author, and the text as moderators read it.
    author TEXT NOT NULL,
    excerpt TEXT NOT NULL,
    opened_at DOUBLE PRECISION NOT NULL,
    -- 'open', 'approved', 'trusted', 'rejected', 'banned', or 'gone' when something else decided.
    state TEXT NOT NULL,
    decided_by TEXT,
    decided_at DOUBLE PRECISION,
    -- Decided by a reaction or reply, which everybody there sees anyway.
    in_room BOOLEAN NOT NULL DEFAULT FALSE,
    -- For 'more': how many posts.
    posts BIGINT NOT NULL DEFAULT 0,
    -- The notice in the moderators' room, and which revision of this row it shows.
    notice_id BIGINT REFERENCES messages (id) ON DELETE SET NULL,
    revision BIGINT NOT NULL DEFAULT 1,
    shown BIGINT NOT NULL DEFAULT 0,
    UNIQUE (kind, subject_id)
);
CREATE INDEX cases_open ON cases (room_id, kind, id) WHERE state = 'open';
CREATE INDEX cases_stale ON cases (id) WHERE shown < revision;
CREATE INDEX cases_notice ON cases (notice_id);

CREATE TABLE reports (
    case_id BIGINT NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at DOUBLE PRECISION NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (case_id, user_id)
);
CREATE INDEX reports_user ON reports (user_id, at);
